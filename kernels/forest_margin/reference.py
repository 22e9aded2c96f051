"""The plain traversal: all trees of all rows go one level down at a time."""

from __future__ import annotations

import numpy as np

from kernels.tables import TreeTable


def step_down(trees: TreeTable, bins: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the nodes [B, T] one level below the nodes `at`; a leaf stays where it is."""
    column = trees.column[at]
    value = bins[np.maximum(column, 0), np.arange(at.shape[0])[:, None]]
    right = (value + trees.shift[at]) >= trees.rank[at]  # uint8: 255 + 1 wraps to 0
    return np.where(column >= 0, trees.left[at] + right, at)


def forest_margin(trees: TreeTable, bins: np.ndarray) -> np.ndarray:
    """Return margins [B] float32; see the package for the contract."""
    at = np.broadcast_to(trees.roots, (bins.shape[1], len(trees.roots)))
    for _ in range(trees.depth.max(initial=0)):
        at = step_down(trees, bins, at)
    return trees.margin(trees.value[at].sum(axis=1, dtype=np.int64))
