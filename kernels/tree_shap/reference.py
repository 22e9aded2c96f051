"""The plain sum over leaves, straight from the definition of the Shapley value.

With the features S known, a leaf is reached with the product, over the features on its path, of o (1 where the row
fulfils all of that feature's tests, else 0) for those in S and of z (the share of the training rows that did) for the
others. The share of feature i in one leaf of value v and n features is therefore

    v (o_i - z_i) sum_k k! (n - 1 - k)! / n! * [y^k] prod_{j != i} (z_j + o_j y)

where [y^k] takes the coefficient: the sum over the sets of k known features.
"""

from __future__ import annotations

from math import factorial

import numpy as np

from kernels.tree_shap import ShapTable


def tree_shap(table: ShapTable, bins: np.ndarray) -> tuple[np.ndarray, float]:
    """Return contributions [B, F] and the bias; see the package for the contract."""
    trees, rows = table.trees, bins.shape[1]
    contributions = np.zeros((rows, trees.features))
    reached = _is_reached(table, bins)
    leaves = np.flatnonzero((trees.column < 0) & (table.parent >= 0))
    for leaf in leaves:
        value = float(trees.value[leaf]) * 2.0**-trees.scale
        path = _features_on_path(table, reached, leaf)
        for i, (feature, share, fulfils) in enumerate(path):
            others = path[:i] + path[i + 1 :]
            contributions[:, feature] += value * (fulfils - share) * _weight_of_sets(others, rows)
    return contributions, table.bias


def _is_reached(table: ShapTable, bins: np.ndarray) -> np.ndarray:
    """Return [N, B] bool: whether the row's own test at the parent leads to the node; True where there is no parent."""
    trees = table.trees
    reached = np.ones((len(table.parent), bins.shape[1]), bool)
    for node, parent in enumerate(table.parent):
        if parent >= 0:
            goes_right = bins[trees.column[parent]] + trees.shift[parent] >= trees.rank[parent]  # uint8: 255 + 1 wraps to 0
            reached[node] = goes_right == (node != trees.left[parent])
    return reached


def _features_on_path(table: ShapTable, reached: np.ndarray, leaf: int) -> list[tuple[int, float, np.ndarray]]:
    """Return (feature, share z, fulfilled o [B]) of each feature tested above the leaf."""
    found: dict[int, tuple[float, np.ndarray]] = {}
    node = leaf
    while (parent := table.parent[node]) >= 0:
        feature = int(table.trees.feature[parent])
        share, fulfils = found.get(feature, (table.share[node], np.float64(1.0)))  # the lowest node's share has those above in it
        found[feature] = share, fulfils * reached[node]
        node = parent
    return [(feature, share, fulfils) for feature, (share, fulfils) in found.items()]


def _weight_of_sets(others: list[tuple[int, float, np.ndarray]], rows: int) -> np.ndarray:
    """Return [B]: the probability of the leaf over all orders in which the features may become known, without the one."""
    n = len(others) + 1
    coefficients = np.zeros((n, rows))
    coefficients[0] = 1.0
    for _, share, fulfils in others:
        coefficients[1:] = coefficients[1:] * share + coefficients[:-1] * fulfils
        coefficients[0] *= share
    weights = np.array([factorial(k) * factorial(n - 1 - k) / factorial(n) for k in range(n)])
    return weights @ coefficients
