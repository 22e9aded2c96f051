"""Margins on bins: which way rows go, and what is refused. XGBoost's own margins: tests/inference_core/compiler."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kernels.errors import KernelInputError
from kernels.forest_margin import forest_margin
from kernels.tables import MISSING, TreeTable
from tests.kernels.random_tables import Shape, random_tables
from tests.kernels.variants import each_instruction_set, instruction_set


def stump(rank: int, shift: int) -> TreeTable:
    """A root with two leaves: 1 on the left, 2 on the right; shift 1 sends a missing value to the left."""
    return TreeTable(
        [0, -1, -1], [shift, 0, 0], [rank + shift, 0, 0], [1, 1, 2], [0, 1, 2], [0, -1, -1], [0], [1],
        scale=0, base=10.0, features=1, columns=1,
    )  # fmt: skip


@each_instruction_set
@pytest.mark.parametrize("rank", [1, 2, 127, 128, 129, 253, 254])
@pytest.mark.parametrize("missing_goes_left", [False, True])
def test_a_bin_at_the_rank_goes_right_and_a_missing_value_by_default(instructions, rank, missing_goes_left):
    bins = np.arange(256, dtype=np.uint8)[None]
    expected = np.where(bins[0] >= rank, 12, 11)
    expected[MISSING] = 11 if missing_goes_left else 12
    with instruction_set(instructions):
        np.testing.assert_array_equal(forest_margin(stump(rank, int(missing_goes_left)), bins), expected)
        one_by_one = [forest_margin(stump(rank, int(missing_goes_left)), bins[:, i : i + 1])[0] for i in range(256)]
    np.testing.assert_array_equal(one_by_one, expected)


@each_instruction_set
@pytest.mark.parametrize("rows", [0, 1, 100])
def test_trees_that_are_a_single_leaf(instructions, rows):
    none = [0, 0]
    leaf = TreeTable([-1, -1], none, none, [0, 1], [3, 4], [-1, -1], [0, 1], none, scale=1, base=0.25, features=2, columns=0)
    with instruction_set(instructions):
        np.testing.assert_array_equal(forest_margin(leaf, np.zeros((0, rows), np.uint8)), np.full(rows, 3.75, np.float32))


@each_instruction_set
def test_the_order_of_trees_does_not_matter(instructions):
    tables = random_tables(Shape(features=6, cuts=40, trees=50, depth=6, seed=9))
    trees = tables.trees
    order = np.random.default_rng(0).permutation(50)
    shuffled = dataclasses.replace(trees, roots=trees.roots[order], depth=trees.depth[order])
    bins = np.random.default_rng(1).integers(0, 42, (tables.cuts.width, 300)).astype(np.uint8)
    with instruction_set(instructions):
        assert forest_margin(shuffled, bins).tobytes() == forest_margin(trees, bins).tobytes()


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        stump(1, 0).value[0] = 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"left": [0, 1, 2]}, "children come after"),
        ({"left": [2, 1, 2]}, "children come after"),
        ({"left": [1, 0, 2]}, "a leaf points at itself"),
        ({"column": [1, -1, -1]}, "column that is not there"),
        ({"feature": [1, -1, -1]}, "column that is not there"),
        ({"roots": [3]}, "root is not a node"),
        ({"roots": [0, 0]}, "one depth a root"),
        ({"value": [1, 2]}, "one entry a node"),
        ({"scale": 63}, "scale"),
    ],
)
def test_trees_that_are_no_trees_are_refused(change, says):
    with pytest.raises(KernelInputError, match=says):
        dataclasses.replace(stump(1, 0), **change)


def test_bins_that_do_not_fit_are_refused():
    for bins in (np.zeros((0, 3), np.uint8), np.zeros((1, 3), np.int16), np.zeros((3, 1), np.uint8).T[:, ::2]):
        with pytest.raises(KernelInputError, match="bins must be C-contiguous uint8"):
            forest_margin(stump(1, 0), bins)
