"""The largest values of each row in Triton: the largest is taken out of a tile k times."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.errors import KernelInputError

_TILE = 4096


def top_values(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (columns [B, k] int32, values [B, k] float32) of the k largest values of each row of x, largest first.

    The same as kernels.top_values, ties, NaN and missing places included.

    Raises:
        KernelInputError: x is not contiguous float32 [B, F], or k is not between 1 and F.
    """
    if x.dtype != torch.float32 or x.ndim != 2 or not x.is_contiguous() or not 1 <= k <= x.shape[1]:
        raise KernelInputError(f"x must be contiguous float32 [B, F] with F >= k >= 1; got {x.dtype} {list(x.shape)}, k = {k}")
    rows, features = x.shape
    position = torch.empty((rows, k), dtype=torch.int32, device=x.device)
    value = torch.empty((rows, k), dtype=torch.float32, device=x.device)
    width = triton.next_power_of_2(features)
    block = max(1, min(128, _TILE // width))
    if rows:
        _kernel[(triton.cdiv(rows, block),)](x, position, value, rows, features, k, ROWS=block, FEATURES=width)
    return position, value


@triton.jit
def _kernel(x, position, value, B, F, k, ROWS: tl.constexpr, FEATURES: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = rows < B
    columns = tl.arange(0, FEATURES)[None, :]
    tile = tl.load(x + rows[:, None] * F + columns, mask=mask[:, None] & (columns < F), other=float("-inf"))
    write_top(tile, position, value, k, rows, mask, FEATURES)


@triton.jit
def write_top(tile, position, value, k, rows, mask, FEATURES: tl.constexpr):
    """Write the k largest of each row of a tile [ROWS, FEATURES]; minus infinity stands for no value."""
    columns = tl.arange(0, FEATURES)[None, :]
    left = tl.where(tile != tile, float("-inf"), tile)
    for i in range(k):
        best = tl.max(left, axis=1)
        where = tl.min(tl.where(left == best[:, None], columns, FEATURES), axis=1)
        there = best > float("-inf")
        tl.store(position + rows * k + i, tl.where(there, where, -1), mask=mask)
        # Not `best`: the largest of 0.0 and -0.0 is the one that stands in front.
        chosen = tl.max(tl.where(columns == where[:, None], left, float("-inf")), axis=1)
        tl.store(value + rows * k + i, chosen, mask=mask)
        left = tl.where(columns == where[:, None], float("-inf"), left)
