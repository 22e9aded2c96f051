"""Margins and contributions in Triton. Triton has no memory that a thread can index, so a block of rows keeps its
contributions as a tile in registers (each step adds to one column by comparison), and a single row adds them up with
atomic integers, whose order does not matter.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.forest_margin.gpu_triton import margin_of, start_of, step_down, tree_arguments, value_at
from kernels.gpu import DeviceTrees, check_bins, choose_variant

_TILE = 4096  # integers of a tile
TREES = 256


def path_contributions(trees: DeviceTrees, bins: torch.Tensor, variant: str = "auto") -> tuple[torch.Tensor, torch.Tensor]:
    """Return margins [B] and contributions [B, F], both float32, of bins [at least trees.table.columns, B] uint8.

    The same bits as kernels.path_contributions.reference; variant: see kernels.gpu.VARIANTS.

    Raises:
        KernelInputError: bins does not fit, or there is no such variant.
    """
    check_bins(bins, trees.table.columns, trees.nodes.device)
    rows, features = bins.shape[1], trees.table.features
    margin = torch.empty(rows, dtype=torch.float32, device=bins.device)
    contributions = torch.empty((rows, features), dtype=torch.float32, device=bins.device)
    by_tree = choose_variant(variant, rows) == "tree_parallel"
    changes = torch.empty((rows if by_tree else 0, features), dtype=torch.int64, device=bins.device)
    if rows:
        block = 1 if by_tree else rows_of_tile(features)
        _kernel[(triton.cdiv(rows, block),)](
            *tree_arguments(trees), bins, changes, margin, contributions, features, rows, COMPLETE=trees.complete,
            DEEPEST=trees.deepest, BY_TREE=by_tree, ROWS=block, FEATURES=triton.next_power_of_2(features), TREES=TREES,
        )  # fmt: skip
    return margin, contributions


def rows_of_tile(features: int) -> int:
    """Return how many rows of contributions a program holds."""
    return max(1, min(128, _TILE // triton.next_power_of_2(features)))


@triton.jit
def _kernel(nodes, values, feature, roots, depth, numbers, T, bins, changes, margin, contributions, F, B,
            COMPLETE: tl.constexpr, DEEPEST: tl.constexpr, BY_TREE: tl.constexpr, ROWS: tl.constexpr, FEATURES: tl.constexpr,
            TREES: tl.constexpr):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = rows < B
    total, sums = contributions_of(nodes, values, feature, roots, T, bins, changes, F, B, rows, mask, COMPLETE, DEEPEST, BY_TREE,
                                   ROWS, FEATURES, TREES)  # fmt: skip
    columns = tl.arange(0, FEATURES)[None, :]
    share = (sums.to(tl.float64) * tl.load(numbers + 1)).to(tl.float32)
    tl.store(margin + rows, margin_of(total, numbers), mask=mask)
    tl.store(contributions + rows[:, None] * F + columns, share, mask=mask[:, None] & (columns < F))


@triton.jit
def contributions_of(nodes, values, feature, roots, T, bins, changes, F, B, rows, mask, COMPLETE: tl.constexpr,
                     DEEPEST: tl.constexpr, BY_TREE: tl.constexpr, ROWS: tl.constexpr, FEATURES: tl.constexpr,
                     TREES: tl.constexpr):  # fmt: skip
    """Return sums of leaves [ROWS] and of changes [ROWS, FEATURES], int64. BY_TREE takes one row and uses `changes`."""
    columns = tl.arange(0, FEATURES)[None, :]
    sums = tl.zeros([ROWS, FEATURES], tl.int64)
    total = tl.zeros([ROWS], tl.int64)
    if BY_TREE:
        row = tl.program_id(0).to(tl.int64)
        mine = changes + row * F
        tl.store(mine + columns, sums, mask=columns < F)
        tl.debug_barrier()
        part = tl.zeros([TREES], tl.int64)
        for start in range(0, T, TREES):
            trees = start + tl.arange(0, TREES)
            here = trees < T
            at = start_of(roots, trees, here, COMPLETE)
            value = value_at(values, trees, at, here, COMPLETE, DEEPEST)
            for _ in range(DEEPEST):
                word, below = step_down(nodes, trees, at, here, bins, B, row, COMPLETE, DEEPEST)
                value_below = value_at(values, trees, below, here, COMPLETE, DEEPEST)
                tested = feature_of(feature, word, at, here, COMPLETE)
                tl.atomic_add(mine + tested, value_below - value, mask=here & (value_below != value))
                at, value = below, value_below
            part += value
        total += tl.sum(part)
        tl.debug_barrier()
        sums = tl.load(mine + columns, mask=columns < F, other=0)
    else:
        for t in range(T):
            trees = tl.zeros([ROWS], tl.int32) + t
            at = start_of(roots, trees, mask, COMPLETE)
            value = value_at(values, trees, at, mask, COMPLETE, DEEPEST)
            for _ in range(DEEPEST):
                word, below = step_down(nodes, trees, at, mask, bins, B, rows, COMPLETE, DEEPEST)
                value_below = value_at(values, trees, below, mask, COMPLETE, DEEPEST)
                tested = feature_of(feature, word, at, mask, COMPLETE)
                sums += tl.where(tested[:, None] == columns, (value_below - value)[:, None], 0)
                at, value = below, value_below
            total += value
    return total, sums


@triton.jit
def feature_of(feature, word, at, mask, COMPLETE: tl.constexpr):
    """Return the column of x that the nodes `at` answer for."""
    if COMPLETE:
        return (word >> 20) & 2047
    else:
        return tl.load(feature + at, mask=mask, other=0)
