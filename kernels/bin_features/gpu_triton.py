"""Bins in Triton: a program takes a block of rows through some columns, each value looked up by bisection."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.gpu import DeviceCuts, check_rows

# A product that feeds a sum must round in between, as in NumPy.
EXACT = {"enable_fp_fusion": False}
_ROWS = 256
_COLUMNS = 2  # one after the other: a column is eight steps, each of which waits for the one before


def bin_features(cuts: DeviceCuts, x: torch.Tensor, memberships: torch.Tensor | None = None) -> torch.Tensor:
    """Return bins [K + L, B] uint8 of rows x [B, F] float32, any strides, and memberships [B, L] bool (None: in no list).

    The same bytes as kernels.bin_features.reference.

    Raises:
        KernelInputError: a shape, type or device does not fit.
    """
    check_rows(cuts, x, memberships)
    bins = torch.empty((cuts.table.width, len(x)), dtype=torch.uint8, device=x.device)
    bin_into(cuts, x, memberships, bins, torch.empty((len(cuts.table.derived), len(x)), dtype=torch.float32, device=x.device))
    return bins


def bin_into(
    cuts: DeviceCuts, x: torch.Tensor, memberships: torch.Tensor | None, bins: torch.Tensor, wide: torch.Tensor
) -> None:
    """Write the bins [K + L, B] of rows that were checked; `wide` [D, B] float32 takes the derived columns on the way."""
    table, rows = cuts.table, len(x)
    if rows:
        listed = memberships if memberships is not None else bins
        blocks, derived = triton.cdiv(rows, _ROWS), len(table.derived)
        if derived:  # by a launch of its own, since any column may read any of them
            given = x, x.stride(0), x.stride(1)
            _derive[(blocks,)](*given, cuts.derived, wide, table.features, derived, rows, ROWS=_ROWS, **EXACT)
        _kernel[(blocks, max(triton.cdiv(table.columns, _COLUMNS), 1))](
            x, x.stride(0), x.stride(1), listed.contiguous(), cuts.cuts, cuts.offsets, cuts.source, wide, bins, table.features,
            table.columns, table.lists, rows, LISTED=memberships is not None, ROWS=_ROWS, COLUMNS=_COLUMNS, **EXACT,
        )  # fmt: skip


@triton.jit
def _derive(x, row_stride, column_stride, derived, wide, F, D, B, ROWS: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    derive_block(x, row_stride, column_stride, derived, wide, F, D, B, rows, rows < B)


@triton.jit
def _kernel(x, row_stride, column_stride, listed, cuts, offsets, source, wide, bins, F, K, L, B, LISTED: tl.constexpr,
            ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = rows < B
    first = tl.program_id(1) * COLUMNS
    last = tl.minimum(first + COLUMNS, K)
    bin_columns(x, row_stride, column_stride, cuts, offsets, source, wide, bins, F, first, last, B, rows, mask)
    if tl.program_id(1) == 0:
        bin_lists(listed, bins, K, L, B, rows, mask, LISTED)


@triton.jit
def bin_block(x, row_stride, column_stride, listed, cuts, offsets, source, derived, wide, bins, F, D, K, L, B, rows, mask,
              LISTED: tl.constexpr):  # fmt: skip
    """Write the bins of a block of rows; `wide` [D, B] takes the derived columns on the way."""
    derive_block(x, row_stride, column_stride, derived, wide, F, D, B, rows, mask)
    bin_columns(x, row_stride, column_stride, cuts, offsets, source, wide, bins, F, 0, K, B, rows, mask)
    bin_lists(listed, bins, K, L, B, rows, mask, LISTED)


@triton.jit
def bin_columns(x, row_stride, column_stride, cuts, offsets, source, wide, bins, F, first, last, B, rows, mask):
    """Write the bins of the columns `first` to `last` - 1 of a block of rows."""
    for k in range(first, last):
        value = wide_column(x, row_stride, column_stride, wide, F, B, rows, tl.load(source + k), mask)
        start = tl.load(offsets + k)
        found = bin_of(value, cuts, start, tl.load(offsets + k + 1) - start, mask)
        tl.store(bins + tl.cast(k, tl.int64) * B + rows, found.to(tl.uint8), mask=mask)


@triton.jit
def bin_lists(listed, bins, K, L, B, rows, mask, LISTED: tl.constexpr):
    """Write the memberships of a block of rows behind the K columns."""
    for i in range(L):
        member = tl.zeros_like(rows).to(tl.uint8)
        if LISTED:
            member = tl.load(listed + rows * L + i, mask=mask, other=0).to(tl.uint8)
        tl.store(bins + tl.cast(K + i, tl.int64) * B + rows, member, mask=mask)


@triton.jit
def derive_block(x, row_stride, column_stride, derived, wide, F, D, B, rows, mask):
    """Write the derived columns of a block of rows, one after the other: a later one may read an earlier."""
    for d in range(D):
        step = derived + 5 * d
        op, a_column, b_column = tl.load(step), tl.load(step + 1), tl.load(step + 2)
        a_value, b_value = tl.load(step + 3).to(tl.float32, bitcast=True), tl.load(step + 4).to(tl.float32, bitcast=True)
        a = tl.where(a_column >= 0, wide_column(x, row_stride, column_stride, wide, F, B, rows, a_column, mask), a_value)
        b = tl.where(b_column >= 0, wide_column(x, row_stride, column_stride, wide, F, B, rows, b_column, mask), b_value)
        order = (a > b).to(tl.float32) - (a < b).to(tl.float32)
        order = tl.where((a != a) | (b != b), float("nan"), order)
        value = tl.where(op == 0, a + b, tl.where(op == 1, a - b, tl.where(op == 2, a * b, order)))
        value = tl.where(op == 3, tl.div_rn(a, b), value)
        tl.store(wide + tl.cast(d, tl.int64) * B + rows, value, mask=mask)
        tl.debug_barrier()  # another thread may read it next


@triton.jit
def wide_column(x, row_stride, column_stride, wide, F, B, rows, column, mask):
    """Return column `column` of [x, wide]; a negative one gives zeros."""
    at = rows * row_stride + tl.cast(column, tl.int64) * column_stride
    given = tl.load(x + at, mask=mask & (column >= 0) & (column < F), other=0.0)
    made = tl.load(wide + tl.cast(column - F, tl.int64) * B + rows, mask=mask & (column >= F), other=0.0)
    return tl.where(column < F, given, made)


@triton.jit
def bin_of(value, cuts, first, count, mask):
    """Return how many of cuts[first : first + count] are <= value, at most 254; 255 for NaN."""
    position = tl.zeros_like(value).to(tl.int32)
    for i in tl.static_range(8):
        candidate = position + (128 >> i)
        inside = candidate <= count
        cut = tl.load(cuts + first + candidate - 1, mask=mask & inside, other=0.0)
        position = tl.where(inside & (cut <= value), candidate, position)
    return tl.where(value != value, 255, position)
