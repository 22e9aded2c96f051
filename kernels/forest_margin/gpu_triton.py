"""Margins in Triton, for large batches (a program walks all trees for a block of rows) and small ones (a program walks a
block of trees at a time for one row). Sums are int64, so that both give the same bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.gpu import DeviceTrees, check_bins, choose_variant

_ROWS = 128
_TREES = 256


def forest_margin(trees: DeviceTrees, bins: torch.Tensor, variant: str = "auto") -> torch.Tensor:
    """Return margins [B] float32 of bins [at least trees.table.columns, B] uint8; variant: see kernels.gpu.VARIANTS.

    The same bits as kernels.forest_margin.reference.

    Raises:
        KernelInputError: bins does not fit, or there is no such variant.
    """
    check_bins(bins, trees.table.columns, trees.nodes.device)
    rows = bins.shape[1]
    margin = torch.empty(rows, dtype=torch.float32, device=bins.device)
    by_tree = choose_variant(variant, rows) == "tree_parallel"
    if rows:
        _kernel[(rows if by_tree else triton.cdiv(rows, _ROWS),)](
            *tree_arguments(trees), bins, margin, rows, COMPLETE=trees.complete, DEEPEST=trees.deepest, BY_TREE=by_tree,
            BLOCK=_TREES if by_tree else _ROWS,
        )  # fmt: skip
    return margin


def tree_arguments(trees: DeviceTrees) -> tuple:
    """Return what every kernel that walks trees takes first."""
    return trees.nodes, trees.values, trees.feature, trees.roots, trees.depth, trees.numbers, len(trees.table.roots)


@triton.jit
def _kernel(nodes, values, feature, roots, depth, numbers, T, bins, margin, B, COMPLETE: tl.constexpr, DEEPEST: tl.constexpr,
            BY_TREE: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    if BY_TREE:
        row = tl.program_id(0).to(tl.int64)
        part = tl.zeros([BLOCK], tl.int64)
        for start in range(0, T, BLOCK):
            trees = start + tl.arange(0, BLOCK)
            part += leaves_of(nodes, values, roots, trees, trees < T, bins, B, row, COMPLETE, DEEPEST)
        tl.store(margin + row, margin_of(tl.sum(part), numbers))
    else:
        rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = rows < B
        total = tl.zeros([BLOCK], tl.int64)
        for t in range(T):
            total += leaves_of(nodes, values, roots, tl.zeros([BLOCK], tl.int32) + t, mask, bins, B, rows, COMPLETE, DEEPEST)
        tl.store(margin + rows, margin_of(total, numbers), mask=mask)


@triton.jit
def margin_of(total, numbers):
    """Return base + total * 2**-scale, rounded once: the product is exact in float64."""
    return (tl.load(numbers) + total.to(tl.float64) * tl.load(numbers + 1)).to(tl.float32)


@triton.jit
def leaves_of(nodes, values, roots, trees, mask, bins, B, rows, COMPLETE: tl.constexpr, DEEPEST: tl.constexpr):
    """Return the values int64 of the leaves that rows reach in trees; one of the two may be a scalar."""
    at = start_of(roots, trees, mask, COMPLETE)
    for _ in range(DEEPEST):
        word, at = step_down(nodes, trees, at, mask, bins, B, rows, COMPLETE, DEEPEST)
    return value_at(values, trees, at, mask, COMPLETE, DEEPEST)


@triton.jit
def start_of(roots, trees, mask, COMPLETE: tl.constexpr):
    """Return where trees begin: 0 of each heap, or the root's node."""
    if COMPLETE:
        return tl.zeros_like(trees)
    else:
        return tl.load(roots + trees, mask=mask, other=0)


@triton.jit
def step_down(nodes, trees, at, mask, bins, B, rows, COMPLETE: tl.constexpr, DEEPEST: tl.constexpr):
    """Return the words of the nodes `at`, and the nodes one level below; a leaf of the sparse layout stays where it is."""
    if COMPLETE:
        word = tl.load(nodes + trees.to(tl.int64) * ((1 << DEEPEST) - 1) + at, mask=mask, other=0)
        below = 2 * at + 1
        rank, shift, column = word & 255, (word >> 8) & 1, (word >> 9) & 2047
    else:
        word = tl.load(nodes + 2 * at.to(tl.int64), mask=mask, other=0)
        below = tl.load(nodes + 2 * at.to(tl.int64) + 1, mask=mask, other=0)
        rank, shift, column = word & 511, (word >> 9) & 1, word >> 10
    value = tl.load(bins + column.to(tl.int64) * B + rows, mask=mask, other=0).to(tl.int32)
    right = ((value + shift) & 255) >= rank
    return word, below + right.to(tl.int32)


@triton.jit
def value_at(values, trees, at, mask, COMPLETE: tl.constexpr, DEEPEST: tl.constexpr):
    """Return the values int64 of the nodes `at`."""
    if COMPLETE:
        found = tl.load(values + trees.to(tl.int64) * ((2 << DEEPEST) - 1) + at, mask=mask, other=0)
    else:
        found = tl.load(values + at, mask=mask, other=0)
    return found.to(tl.int64)
