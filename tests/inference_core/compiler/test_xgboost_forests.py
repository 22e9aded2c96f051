"""More than 200 random XGBoost forests: our margins, contributions and bias are XGBoost's."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from inference_core.compiler import compile_program
from inference_core.compiler.interpret import interpret
from inference_core.compiler.ir import ProgramIR
from inference_core.forest import Forest
from inference_core.schema import FeatureColumn, FeatureSchema
from kernels.bin_features import bin_features
from kernels.path_contributions import path_contributions
from kernels.score_rows import score_rows
from tests.inference_core.compiler.generated import Recipe, rows_near, trained
from tests.strategies import examples

MARGIN = {"rtol": 1e-5, "atol": 1e-5}

recipes = st.builds(
    Recipe,
    features=st.sampled_from([1, 2, 5, 20]),
    trees=st.sampled_from([0, 1, 3, 10]),
    depth=st.sampled_from([1, 2, 3, 5, 8, 12, 16]),
    base_score=st.sampled_from([0.5, 0.01, 0.3, 0.999]),
    missing=st.sampled_from([0.0, 0.2, 0.9]),
    seed=st.integers(0, 10_000),
    digits=st.sampled_from([0, 2, 6]),
    balanced=st.sampled_from([True, True, True, False]),
    objective=st.sampled_from(["binary:logistic", "binary:logistic", "binary:logitraw", "reg:squarederror"]),
)


@examples(210)
@given(recipes, st.sampled_from([1, 2, 33]))
def test_margins_and_contributions_equal_xgboost(recipe: Recipe, rows: int):
    booster, forest = trained(recipe)
    assert forest.tree_count == recipe.trees
    x = rows_near(forest, rows, recipe.seed)
    matrix = xgboost.DMatrix(x, feature_names=list(forest.feature_names))
    theirs = booster.predict(matrix, output_margin=True)
    schema = FeatureSchema(tuple(FeatureColumn(name, "count", name) for name in forest.feature_names))
    tables = compile_program(schema, (), (), forest.trees, forest.base).tables
    margin = score_rows(tables, x).margin
    np.testing.assert_allclose(margin, theirs, **MARGIN)
    np.testing.assert_array_equal(forest.margins(x), margin)
    plain = interpret(ProgramIR(len(schema.names), 0, (), (), (), forest.trees, forest.base), x, np.zeros((rows, 0), bool))
    # each leaf is rounded by half a digit at most, and their sum once more, to float32
    rounding = recipe.trees * 2.0 ** -(tables.trees.scale + 1)
    assert (np.abs(margin - plain.margin) <= rounding + np.spacing(np.abs(margin))).all()
    told = booster.predict(matrix, pred_contribs=True, approx_contribs=True)
    shares = path_contributions(tables.trees, bin_features(tables.cuts, x))[1]
    scale = max(1.0, float(np.abs(told).max()))
    np.testing.assert_allclose(shares / scale, told[:, :-1] / scale, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(forest.bias / scale, told[:, -1] / scale, rtol=1e-4, atol=1e-4)


def test_a_feature_with_thousands_of_thresholds():
    booster, forest = trained(Recipe(features=2, trees=60, depth=8, digits=6, rows=5000, max_bin=5000, missing=0.05))
    counts = [len(np.unique(np.concatenate([t.threshold[t.feature == f] for t in forest.trees]))) for f in (0, 1)]
    assert max(counts) > 508, "more than two bin columns can hold"
    x = rows_near(forest, 3000, 5)
    theirs = booster.predict(xgboost.DMatrix(x, feature_names=list(forest.feature_names)), output_margin=True)
    np.testing.assert_allclose(forest.margins(x), theirs, **MARGIN)


@pytest.mark.parametrize("depth", range(1, 17))
def test_each_depth_up_to_sixteen(depth):
    recipe = Recipe(trees=4, depth=depth, digits=6, rows=1500, missing=0.1, objective="reg:squarederror", target=1000.0)
    booster, forest = trained(recipe)
    assert max(tree.depth for tree in forest.trees) == depth
    x = rows_near(forest, 200, depth)
    theirs = booster.predict(xgboost.DMatrix(x, feature_names=list(forest.feature_names)), output_margin=True)
    np.testing.assert_allclose(forest.margins(x), theirs, rtol=1e-5, atol=1e-3)  # margins of hundreds: targets are thousands


def test_both_default_directions_are_used():
    _, forest = trained(Recipe(features=2, trees=20, depth=4, missing=0.4, seed=2))
    inner = np.concatenate([tree.feature >= 0 for tree in forest.trees])
    left = np.concatenate([tree.default_left for tree in forest.trees])[inner]
    assert 0 < left.sum() < len(left), "otherwise the tests above say little about missing values"


@pytest.mark.parametrize("trees", [1, 5])
def test_trees_that_are_a_single_leaf(trees):
    booster, forest = trained(Recipe(trees=trees, depth=4, base_score=0.3, missing=0.0, seed=1, balanced=False))
    assert all(tree.depth == 0 for tree in forest.trees)
    x = np.full((2, 3), np.nan, np.float32)
    theirs = booster.predict(xgboost.DMatrix(x, feature_names=list(forest.feature_names)), output_margin=True)
    np.testing.assert_allclose(forest.margins(x), theirs, **MARGIN)


def test_rows_may_be_any_view():
    _, forest = trained(Recipe(features=5, trees=10, depth=3))
    wide = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)
    odd = (wide[:, ::2][:, :5], np.asfortranarray(wide[:, :5]), wide[:5, :9].T, np.broadcast_to(wide[0, :5], (3, 5)))
    for view in (wide[:, 2:7], wide[::2, :5], wide[::-1, 1:6], *odd):
        np.testing.assert_array_equal(forest.margins(view), forest.margins(np.ascontiguousarray(view)))


def test_many_rows_are_the_same_as_few():
    _, forest = trained(Recipe(features=5, trees=10, depth=3))
    x = rows_near(forest, 20_000, 1)
    margins = forest.margins(x)
    np.testing.assert_array_equal(margins[[0, 8191, 8192, 19_999]], forest.margins(x[[0, 8191, 8192, 19_999]]))


@pytest.mark.parametrize(("largest", "warned"), [(1e6, True), (2.0, False)])
def test_one_leaf_that_takes_the_digits_of_all_others_is_said(largest, warned, caplog):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 2)).astype(np.float32), rng.normal(size=400) * 1e-3
    x[:3, 0], y[:3] = 100, largest
    parameters = {"objective": "reg:squarederror", "max_depth": 3, "eta": 1.0, "lambda": 0.0}
    booster = xgboost.train(parameters, xgboost.DMatrix(x, y), 20)
    forest = Forest.from_xgboost(bytes(booster.save_raw("ubj")), ("a", "b"))
    schema = FeatureSchema(tuple(FeatureColumn(name, "count", name) for name in "ab"))
    compile_program(schema, (), (), forest.trees, forest.base)
    assert ("leaves the others" in caplog.text) == warned
