"""Contributions follow the path: each step's change goes to the feature that it tests."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.bin_features import reference as bin_reference
from kernels.path_contributions import path_contributions
from kernels.tables import TreeTable
from tests.kernels.random_tables import Shape, random_tables, rows_near
from tests.kernels.variants import each_instruction_set, instruction_set


def walk(trees: TreeTable, bins: np.ndarray) -> tuple[float, np.ndarray]:
    """Follow one row node by node, in plain Python integers."""
    total, changes = 0, [0] * trees.features
    for root in trees.roots.tolist():
        at = root
        while trees.column[at] >= 0:
            right = (int(bins[trees.column[at]]) + int(trees.shift[at])) % 256 >= int(trees.rank[at])
            below = int(trees.left[at]) + right
            changes[trees.feature[at]] += int(trees.value[below]) - int(trees.value[at])
            at = below
        total += int(trees.value[at])
    return total, np.array(changes)


@each_instruction_set
@pytest.mark.parametrize("depth", [1, 6, 9])
def test_they_are_what_a_walk_adds_up(instructions, depth):
    tables = random_tables(Shape(features=9, cuts=30, trees=30, depth=depth, derived=0, lists=0, seed=depth))
    trees, (x, _) = tables.trees, rows_near(tables.cuts, 40, 2)
    bins = bin_reference.bin_features(tables.cuts, x)
    with instruction_set(instructions):
        margin, contributions = path_contributions(trees, bins)
    for row in range(40):
        total, changes = walk(trees, bins[:, row])
        assert margin[row] == np.float32(trees.base + total * 2.0**-trees.scale)
        np.testing.assert_array_equal(contributions[row], (changes * 2.0**-trees.scale).astype(np.float32))


@each_instruction_set
def test_sums_past_32_bits_are_exact(instructions):
    """Three hundred trees whose leaves are as large as they may be."""
    big, trees = 2**31 - 1, 300
    one = {"column": [0, -1, -1], "shift": [0, 0, 0], "rank": [1, 0, 0], "value": [0, -big, big], "feature": [0, -1, -1]}
    table = TreeTable(
        **{name: np.tile(of, trees) for name, of in one.items()},
        left=np.concatenate([[3 * t + 1, 3 * t + 1, 3 * t + 2] for t in range(trees)]),
        roots=3 * np.arange(trees), depth=np.ones(trees), scale=0, base=0.5, features=1, columns=1,
    )  # fmt: skip
    for rows in (1, 200):
        with instruction_set(instructions):
            margin, contributions = path_contributions(table, np.resize(np.array([0, 1], np.uint8), (1, rows)))
        expected = np.resize(np.array([-big * trees, big * trees], np.float64), rows)
        np.testing.assert_array_equal(margin, (0.5 + expected).astype(np.float32))
        np.testing.assert_array_equal(contributions[:, 0], expected.astype(np.float32))
