"""The plain traversal, with what each step changes added up for the feature that it tests."""

from __future__ import annotations

import numpy as np

from kernels.forest_margin.reference import step_down
from kernels.tables import TreeTable


def path_contributions(trees: TreeTable, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return margins [B] and contributions [B, F]; see the package for the contract."""
    total, changes = path_sums(trees, bins)
    return trees.margin(total), (changes * 2.0**-trees.scale).astype(np.float32)


def path_sums(trees: TreeTable, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of leaves [B] and of changes [B, F], int64 in fixed point."""
    rows = bins.shape[1]
    changes = np.zeros((rows, trees.features), np.int64)
    at = np.broadcast_to(trees.roots, (rows, len(trees.roots)))
    for _ in range(trees.depth.max(initial=0)):
        below = step_down(trees, bins, at)
        change = trees.value[below].astype(np.int64) - trees.value[at]
        np.add.at(changes, (np.arange(rows)[:, None], np.maximum(trees.feature[at], 0)), change)
        at = below
    return trees.value[at].sum(axis=1, dtype=np.int64), changes
