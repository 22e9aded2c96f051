"""Exact Shapley values: equal to their definition, to XGBoost's pred_contribs, and to the margin when added up."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.forest_margin.reference import forest_margin
from kernels.native import library
from kernels.tree_shap import ShapTable, reference, tree_shap
from tests.kernels.shap_forests import from_xgboost, random_bins, random_table, table_of
from tests.strategies import examples

TINY = {"rtol": 1e-9, "atol": 1e-10}


def expected_margin(table: ShapTable, row: np.ndarray, known: frozenset[int]) -> float:
    """The margin of a row of bins with only these features known, by walking down as the definition says."""
    trees = table.trees

    def below(node: int) -> float:
        if trees.column[node] < 0:
            return float(trees.value[node]) * 2.0**-trees.scale
        left = int(trees.left[node])
        if int(trees.feature[node]) in known:
            goes_right = (int(row[trees.column[node]]) + int(trees.shift[node])) % 256 >= trees.rank[node]
            return below(left + int(goes_right))
        both = table.cover[left] + table.cover[left + 1]
        part = table.cover[left] / both if both > 0 else 0.5
        return part * below(left) + (1 - part) * below(left + 1)

    return trees.base + sum(below(int(root)) for root in trees.roots)


def shapley_values(table: ShapTable, row: np.ndarray) -> np.ndarray:
    """The definition: the mean change that a feature makes, over all sets of others that may be known before it."""
    count = table.trees.features
    values = np.zeros(count)
    for feature in range(count):
        others = [other for other in range(count) if other != feature]
        for size in range(count):
            for chosen in combinations(others, size):
                known = frozenset(chosen)
                change = expected_margin(table, row, known | {feature}) - expected_margin(table, row, known)
                values[feature] += change / (count * comb(count - 1, size))
    return values


@pytest.mark.parametrize("of", [tree_shap, reference.tree_shap], ids=["fast", "reference"])
@pytest.mark.parametrize("dead", [0.0, 0.4])
def test_it_is_the_shapley_value_by_definition(of, dead):
    for seed in range(6):
        table = random_table(seed, trees=2, depth=5, features=4, dead=dead)  # deeper than there are features: they repeat
        bins = random_bins(seed, table, 3)
        contributions, bias = of(table, bins)
        assert contributions.dtype == np.float64 and contributions.shape == (3, 4)
        assert bias == pytest.approx(expected_margin(table, bins[:, 0], frozenset()), abs=1e-9)
        for row in range(3):
            np.testing.assert_allclose(contributions[row], shapley_values(table, bins[:, row]), atol=1e-9)


@given(
    seed=st.integers(0, 10**6), trees=st.integers(0, 4), depth=st.integers(0, 12), features=st.integers(1, 9),
    rows=st.sampled_from([0, 1, 3, 17]), dead=st.sampled_from([0.0, 0.1]),
)  # fmt: skip
@examples(40)
def test_fast_equals_the_reference_and_adds_up_to_the_margin(seed, trees, depth, features, rows, dead):
    assert library() is not None
    table = random_table(seed, trees=trees, depth=depth, features=features, stop=0.3, dead=dead)
    bins = random_bins(seed, table, rows)
    fast, bias = tree_shap(table, bins)
    truth, same_bias = reference.tree_shap(table, bins)
    np.testing.assert_allclose(fast, truth, **TINY)
    assert bias == same_bias
    # forest_margin rounds to float32 at the end.
    np.testing.assert_allclose(fast.sum(axis=1) + bias, forest_margin(table.trees, bins), rtol=1e-6, atol=1e-6)


def boosted(seed: int, *, depth: int, features: int, rounds: int, **parameters) -> tuple[xgboost.Booster, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(600, features)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    signal = np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, -1]) + np.isnan(x[:, 0]) - np.sin(3 * np.nan_to_num(x[:, features // 2]))
    y = (signal + rng.normal(size=len(x)) > 1).astype(np.float32)
    given_parameters = {
        "objective": "binary:logistic", "max_depth": depth, "eta": 0.3, "max_bin": 100, "nthread": 1, "min_child_weight": 0.1
    } | parameters  # fmt: skip
    return xgboost.train(given_parameters, xgboost.DMatrix(x, y), rounds), x


@pytest.mark.parametrize("features", [1, 3, 9])
@pytest.mark.parametrize("depth", range(1, 13))
def test_it_equals_xgboost(depth, features):
    booster, x = boosted(depth * 100 + features, depth=depth, features=features, rounds=6)
    rows = x[:40]
    table, bins = from_xgboost(booster, rows)
    contributions, bias = tree_shap(table, bins)
    theirs = booster.predict(xgboost.DMatrix(rows), pred_contribs=True)
    np.testing.assert_allclose(contributions, theirs[:, :-1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.full(len(rows), bias), theirs[:, -1], rtol=1e-3, atol=1e-4)
    margin = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    np.testing.assert_allclose(contributions.sum(axis=1) + bias, margin, rtol=1e-5, atol=1e-5)


def test_it_equals_xgboost_where_trees_are_single_leaves():
    booster, x = boosted(1, depth=3, features=3, rounds=4, gamma=1e6)
    table, bins = from_xgboost(booster, x[:5])
    contributions, bias = tree_shap(table, bins)
    assert not table.trees.depth.any() and not contributions.any()
    np.testing.assert_allclose(bias, booster.predict(xgboost.DMatrix(x[:5]), output_margin=True), rtol=1e-5)


def test_it_equals_xgboost_on_a_lopsided_deep_tree():
    booster, x = boosted(2, depth=0, features=9, rounds=3, grow_policy="lossguide", max_leaves=120, min_child_weight=0.01)
    table, bins = from_xgboost(booster, x[:30])
    assert table.depth > 12
    theirs = booster.predict(xgboost.DMatrix(x[:30]), pred_contribs=True)
    np.testing.assert_allclose(tree_shap(table, bins)[0], theirs[:, :-1], rtol=1e-3, atol=1e-4)


def test_deeper_than_any_training_goes_it_still_adds_up():
    def comb_tree(level: int):
        leaf = (None, 1.0 / (level + 1), 1.0, [])
        return leaf if level == 60 else ((level, 0, 128), 0.0, float(61 - level), [leaf, comb_tree(level + 1)])

    table = table_of([comb_tree(0)], features=60, columns=60, base=0.0)
    bins = random_bins(5, table, 20)
    bins[:, 0] = 200  # all the way down
    contributions, bias = tree_shap(table, bins)
    np.testing.assert_allclose(contributions.sum(axis=1) + bias, forest_margin(table.trees, bins), rtol=1e-6)
    np.testing.assert_allclose(contributions, reference.tree_shap(table, bins)[0], **TINY)


def test_what_no_tree_tests_has_exactly_nothing():
    table = random_table(3, features=3)
    wide = table_of([(None, 0.5, 1.0, [])], features=7, columns=0, base=0.25)
    assert (tree_shap(wide, np.zeros((0, 2), np.uint8))[0] == 0).all()
    assert tree_shap(wide, np.zeros((0, 2), np.uint8))[1] == 0.75
    bins = random_bins(3, table, 50)
    assert (tree_shap(table, bins)[0][:, np.setdiff1d(np.arange(3), table.trees.feature)] == 0).all()


def test_one_row_is_a_batch_of_one():
    table = random_table(11, trees=5, depth=6)
    bins = random_bins(11, table, 9)
    together = tree_shap(table, bins)[0]
    alone = [tree_shap(table, np.ascontiguousarray(bins[:, row : row + 1]))[0][0] for row in range(9)]
    assert np.array(alone).tobytes() == together.tobytes()


@pytest.mark.parametrize(
    ("cover", "told"),
    [([1.0], "one entry a node"), ([1.0, np.nan, 1.0], "finite"), ([1.0, np.inf, 1.0], "finite"), ([1.0, -1.0, 2.0], "negative")],
)
def test_covers_that_cannot_be_are_refused(cover, told):
    tree = ((0, 0, 5), 0.0, 1.0, [(None, 0.5, 0.5, []), (None, -0.5, 0.5, [])])
    trees = table_of([tree], features=1, columns=1, base=0.0).trees
    with pytest.raises(KernelInputError, match=told):
        ShapTable(trees, np.array(cover))


def test_nodes_that_two_trees_share_are_refused():
    table = random_table(0, trees=1)
    shared = {name: getattr(table.trees, name) for name in table.trees.__dataclass_fields__}
    shared |= {"roots": np.array([0, 0]), "depth": np.array([4, 4])}
    with pytest.raises(KernelInputError, match="two places"):
        ShapTable(type(table.trees)(**shared), table.cover)


@pytest.mark.parametrize("bins", [np.zeros((3, 2), np.uint8), np.zeros((4, 2), np.int32), np.zeros(4, np.uint8)])
def test_bins_that_do_not_fit_are_refused(bins):
    with pytest.raises(KernelInputError, match="at least 4"):
        tree_shap(random_table(0, features=4), bins)
