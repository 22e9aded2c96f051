"""The fused pass in Triton: one launch derives, bins, runs the rules, walks the trees and picks the contributions.

A program's bins go through memory, but stay in the cache of the multiprocessor that wrote them. Portable to what Triton
is portable to; kernels/score_rows/gpu_cuda.py is the faster one on NVIDIA's.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.bin_features.gpu_triton import EXACT, bin_block, bin_into, bin_of, derive_block, wide_column
from kernels.errors import KernelInputError
from kernels.forest_margin.gpu_triton import margin_of, tree_arguments
from kernels.gpu import DeviceTables, Outputs, allocate, check_outputs, check_rows, choose_variant
from kernels.net_margin.gpu_triton import net_into
from kernels.path_contributions.gpu_triton import TREES, contributions_of, rows_of_tile
from kernels.rule_mask.gpu_triton import block_of, rule_arguments, rules_of
from kernels.top_values.gpu_triton import write_top


def score_rows(
    tables: DeviceTables, x: torch.Tensor, memberships: torch.Tensor | None = None, top: int = 0, variant: str = "auto",
    out: Outputs | None = None,
) -> Outputs:  # fmt: skip
    """Score rows x [B, F] float32 with memberships [B, L] bool (None: in no list), top from 0 to F contributions a row.

    The same bits as kernels.score_rows.reference, whatever the variant (see kernels.gpu.VARIANTS). With `out` from
    kernels.gpu.allocate nothing is allocated, so that the call can be captured in a CUDA graph.

    Raises:
        KernelInputError: a shape, type or device does not fit, or there is no such variant.
    """
    check_rows(tables.cuts, x, memberships)
    rows = len(x)
    out = allocate(tables, rows, top) if out is None else out
    check_outputs(out, rows, top)
    if not out.scratch:
        raise KernelInputError("the Triton kernel needs allocate(..., scratch=True)")
    by_tree = choose_variant(variant, rows) == "tree_parallel"
    if rows:
        run_net(tables, x, memberships, out)
        _launch(tables, x, memberships, top, by_tree, out)
    return out


def run_net(tables: DeviceTables, x: torch.Tensor, memberships: torch.Tensor | None, out: Outputs) -> None:
    """Write the net's terms to out.scratch["terms"], where there is a net: launches before the fused pass, which adds them."""
    if tables.net is not None:
        bin_into(tables.cuts, x, memberships, out.scratch["bins"], out.scratch["derived"])
        net_into(tables.net, out.scratch["bins"], out.scratch)


def _launch(
    tables: DeviceTables, x: torch.Tensor, memberships: torch.Tensor | None, top: int, by_tree: bool, out: Outputs
) -> None:
    table, trees, plan, rows = tables.cuts.table, tables.trees, tables.rules.plan, len(x)
    net = tables.net
    block = 1 if by_tree else rows_of_tile(table.features + (net is not None))
    listed = memberships.contiguous() if memberships is not None else x
    no_trees = (x, x, x, x, x, x, 0)
    _kernel[(triton.cdiv(rows, block),)](
        x, x.stride(0), x.stride(1), listed, tables.cuts.cuts, tables.cuts.offsets, tables.cuts.source, tables.cuts.derived,
        out.scratch["derived"], out.scratch["bins"], table.features, len(table.derived), table.columns, table.lists,
        *rule_arguments(tables.rules), out.scratch["registers"], out.hit, out.insufficient, out.error,
        *(no_trees if trees is None else tree_arguments(trees)), out.scratch["changes"],
        out.margin, out.top_features, out.top_contributions, x if net is None else out.scratch["terms"],
        0 if net is None else net.table.centre_term, top, rows, HAS_NET=net is not None,
        LISTED=memberships is not None, BY_ROW=by_tree, HAS_TREES=trees is not None,
        COMPLETE=trees is None or trees.complete, DEEPEST=0 if trees is None else trees.deepest, ROWS=block,
        FEATURES=triton.next_power_of_2(max(table.features + (net is not None), 1)), TREES=TREES,
        COLUMNS=triton.next_power_of_2(max(table.columns, 1)),
        PREDICATES=block_of(len(plan.predicates)), SEGMENTS=block_of(len(plan.segments)), **EXACT,
    )  # fmt: skip


@triton.jit
def _kernel(
    x, row_stride, column_stride, listed, cuts, offsets, source, derived, wide, bins, F, D, K, L,
    steps, rule_outputs, predicates, plan_steps, segments, levels, plan_outputs, N, P, LEVELS, R, W, registers, hit,
    insufficient, error, nodes, values, feature, roots, depth, numbers, T, changes, margin, top_features, top_contributions,
    terms, centre, top, B, HAS_NET: tl.constexpr, LISTED: tl.constexpr, BY_ROW: tl.constexpr, HAS_TREES: tl.constexpr,
    COMPLETE: tl.constexpr, DEEPEST: tl.constexpr, ROWS: tl.constexpr, FEATURES: tl.constexpr, COLUMNS: tl.constexpr,
    TREES: tl.constexpr, PREDICATES: tl.constexpr,
    SEGMENTS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = rows < B
    if HAS_NET:
        pass  # the net's kernels read the same bins: they are there
    elif BY_ROW:
        row = tl.program_id(0).to(tl.int64)
        _bin_row(x, row_stride, column_stride, listed, cuts, offsets, source, derived, wide, bins, F, D, K, L, B, row, rows, mask,
                 LISTED, COLUMNS)  # fmt: skip
    else:
        bin_block(x, row_stride, column_stride, listed, cuts, offsets, source, derived, wide, bins, F, D, K, L, B, rows, mask,
                  LISTED)  # fmt: skip
    tl.debug_barrier()  # any thread may read any bin of the block
    rules_of(steps, rule_outputs, predicates, plan_steps, segments, levels, plan_outputs, N, P, LEVELS, R, W, bins, registers,
             hit, insufficient, error, B, rows, mask, BY_ROW, PREDICATES, SEGMENTS)  # fmt: skip
    columns = tl.arange(0, FEATURES)[None, :]
    told = F
    if HAS_TREES:
        total, sums = contributions_of(nodes, values, feature, roots, T, bins, changes, F, B, rows, mask, COMPLETE, DEEPEST,
                                       BY_ROW, ROWS, FEATURES, TREES)  # fmt: skip
        if HAS_NET:
            term = tl.load(terms + rows, mask=mask, other=0)
            total += term
            sums = tl.where(columns == F, (term - centre)[:, None], sums)
            told = F + 1
        share = (sums.to(tl.float64) * tl.load(numbers + 1)).to(tl.float32)
        tl.store(margin + rows, margin_of(total, numbers), mask=mask)
    else:
        share = tl.zeros([ROWS, FEATURES], tl.float32)
        tl.store(margin + rows, tl.zeros([ROWS], tl.float32) + float("nan"), mask=mask)
    write_top(tl.where(columns < told, share, float("-inf")), top_features, top_contributions, top, rows, mask, FEATURES)


@triton.jit
def _bin_row(x, row_stride, column_stride, listed, cuts, offsets, source, derived, wide, bins, F, D, K, L, B, row, rows, mask,
             LISTED: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """Write the bins of one row, all columns at a time."""
    derive_block(x, row_stride, column_stride, derived, wide, F, D, B, rows, mask)
    tl.debug_barrier()
    k = tl.arange(0, COLUMNS)
    here = k < K
    value = wide_column(x, row_stride, column_stride, wide, F, B, row, tl.load(source + k, mask=here, other=0), here)
    first = tl.load(offsets + k, mask=here, other=0)
    found = bin_of(value, cuts, first, tl.load(offsets + k + 1, mask=here, other=0) - first, here)
    tl.store(bins + k.to(tl.int64) * B + row, found.to(tl.uint8), mask=here)
    for i in range(L):
        member = tl.zeros_like(rows).to(tl.uint8)
        if LISTED:
            member = tl.load(listed + rows * L + i).to(tl.uint8)
        tl.store(bins + tl.cast(K + i, tl.int64) * B + rows, member, mask=mask)
