"""Exact Shapley values of a forest's margin on bins: what a person reads, where path contributions are what is fast.

The game is the path-dependent one of TreeSHAP (Lundberg, Erion and Lee 2018, "Consistent individualized feature
attribution for tree ensembles"; XGBoost's pred_contribs): with only the features S known, a row goes at a node that
tests a feature outside S down both sides at once, weighted by the cover of each. Leaves are the fixed-point ones of
TreeTable, all else is float64, so that bias + the contributions is the margin to 1e-6 or better, before its own
rounding to float32.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import numpy as np

from kernels.bin_features import check_bins
from kernels.errors import KernelInputError
from kernels.native import library, pointer
from kernels.tables import TreeTable

NONE = -1


@dataclass(frozen=True, eq=False)
class ShapTable:
    """A forest with the cover of its nodes, and what follows from them whatever the row.

    Where no training row reached either side of a split (both covers are 0), each side weighs one half.

    Attributes:
        trees: the forest; each node belongs to one tree.
        cover: [N] float64, the training weight that reached the node (XGBoost's sum_hessian); finite, not negative.
        parent: [N] int32, NONE for a root and for what no root leads to.
        twin: [N] int32, the nearest node above that was reached by a test of the same feature; NONE if there is none.
        share: [N] float64, the part of the parent's rows that went to this node, times that of its twin.
        depth: steps from a root to the deepest leaf.
        bias: the mean margin, by cover: what is left where no feature is known.
    """

    trees: TreeTable
    cover: np.ndarray
    parent: np.ndarray = field(init=False)
    twin: np.ndarray = field(init=False)
    share: np.ndarray = field(init=False)
    depth: int = field(init=False)
    bias: float = field(init=False)

    def __post_init__(self) -> None:
        cover = np.array(self.cover, np.float64)
        if cover.shape != self.trees.column.shape:
            raise KernelInputError(f"cover must have one entry a node, {len(self.trees.column)}; got {list(cover.shape)}")
        if not np.isfinite(cover).all() or (cover < 0).any():
            raise KernelInputError("a cover is a weight of training rows: it must be finite and not negative")
        parent = _parents(self.trees)
        levels, twin, share = _levels(parent), _twins(self.trees, parent), _shares(self.trees, cover, parent)
        bias = _bias(self.trees, levels, share)
        for level in levels:
            again = level[twin[level] >= 0]
            share[again] *= share[twin[again]]
        for array in (cover, parent, twin, share):
            array.setflags(write=False)
        found = {"cover": cover, "parent": parent, "twin": twin, "share": share, "depth": max(len(levels) - 1, 0), "bias": bias}
        for name, value in found.items():
            object.__setattr__(self, name, value)


def tree_shap(table: ShapTable, bins: np.ndarray) -> tuple[np.ndarray, float]:
    """Return contributions [B, F] float64 of bins [at least trees.columns, B] uint8, and the bias (see ShapTable).

    Binned from float32 rows; a feature that no tree tests has exactly 0. Cost a row: nodes times half the depth.

    Raises:
        KernelInputError: bins does not fit.
    """
    check_bins(bins, table.trees.columns)
    native = library()
    if native is None:
        from kernels.tree_shap import reference

        return reference.tree_shap(table, bins)
    return _compiled(native, table, bins), table.bias


def _compiled(native: ctypes.CDLL, table: ShapTable, bins: np.ndarray) -> np.ndarray:
    trees, nodes, rows = table.trees, len(table.parent), bins.shape[1]
    points, weights = _quadrature(min(table.depth, trees.features))
    products, reached = np.empty((nodes, len(points))), np.empty(nodes, np.uint8)
    contributions = np.zeros((rows, trees.features))
    arrays = (
        trees.column, trees.shift, trees.rank, trees.left, trees.value, trees.feature, table.parent, table.twin, table.share
    )  # fmt: skip
    native.tree_shap_rows(
        *map(pointer, arrays), ctypes.c_int64(nodes), ctypes.c_double(2.0**-trees.scale), pointer(bins), ctypes.c_int64(rows),
        ctypes.c_int64(trees.features), pointer(points), pointer(weights), ctypes.c_int64(len(points)), pointer(products),
        pointer(reached), pointer(contributions),
    )  # fmt: skip
    return contributions


def _quadrature(depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and weights on (0, 1) of the Gauss-Legendre rule that is exact for polynomials of degree depth - 1."""
    points, weights = np.polynomial.legendre.leggauss(max(1, (depth + 1) // 2))
    return np.ascontiguousarray((points + 1) / 2), np.ascontiguousarray(weights / 2)


def _parents(trees: TreeTable) -> np.ndarray:
    """Return [N] int32 parents of what the roots lead to."""
    parent = np.full(len(trees.column), NONE, np.int32)
    seen = np.zeros(len(trees.column), np.int64)
    level = trees.roots
    while len(level):
        np.add.at(seen, level, 1)
        if (seen[level] > 1).any():
            raise KernelInputError("a node belongs to two places of the forest; give each tree nodes of its own")
        inner = level[trees.column[level] >= 0]
        for side in (0, 1):
            parent[trees.left[inner] + side] = inner
        level = np.concatenate([trees.left[inner], trees.left[inner] + 1])
    return parent


def _levels(parent: np.ndarray) -> list[np.ndarray]:
    """Return the nodes by their distance from a root."""
    distance = np.zeros(len(parent), np.int32)
    above = parent
    while (has := above >= 0).any():
        distance += has
        above = np.where(has, parent[above], NONE)
    return [np.flatnonzero(distance == d) for d in range(distance.max(initial=-1) + 1)]


def _twins(trees: TreeTable, parent: np.ndarray) -> np.ndarray:
    """Return [N] int32: the nearest node above that was reached by a test of the same feature."""
    tested = np.where(parent >= 0, trees.feature[parent], NONE)  # by which a node was reached
    twin = np.where(parent >= 0, parent, NONE).astype(np.int32)
    while (climbs := (twin >= 0) & (tested[twin] != tested)).any():
        twin[climbs] = parent[twin[climbs]]
    return np.where(twin >= 0, np.where(tested[twin] == tested, twin, NONE), NONE).astype(np.int32)


def _shares(trees: TreeTable, cover: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Return [N] float64: the part of the parent's rows that went to this node; both sides of a split add up to 1."""
    left = trees.left[np.maximum(parent, 0)]
    both = cover[left] + cover[np.minimum(left + 1, len(cover) - 1)]
    part = np.divide(cover, both, out=np.full(len(cover), 0.5), where=both > 0)
    return np.where(parent >= 0, part, 1.0)


def _bias(trees: TreeTable, levels: list[np.ndarray], share: np.ndarray) -> float:
    """Return base + the mean leaf of each tree, from the leaves up; `share` is of the parent alone here."""
    mean = trees.value * 2.0**-trees.scale
    for level in reversed(levels):
        inner = level[trees.column[level] >= 0]
        left = trees.left[inner]
        mean[inner] = share[left] * mean[left] + share[left + 1] * mean[left + 1]
    return float(trees.base + mean[trees.roots].sum())
