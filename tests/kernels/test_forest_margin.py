"""The contract of forest margins: compiled, PyTorch reference and XGBoost itself agree."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from inference_core.forest import Forest
from kernels.errors import KernelInputError
from kernels.forest_margin import ForestArrays, forest_contributions, forest_margin, reference
from tests.strategies import examples

MARGIN = {"rtol": 1e-5, "atol": 1e-5}


@dataclass(frozen=True)
class Recipe:
    """How a booster is made: small enough for milliseconds, odd enough to find edges."""

    features: int
    trees: int
    depth: int
    base_score: float
    missing: float
    seed: int
    balanced: bool = True


@functools.cache
def booster(recipe: Recipe) -> tuple[xgboost.Booster, Forest]:
    rng = np.random.default_rng(recipe.seed)
    x = np.round(rng.normal(size=(200, recipe.features)), 2).astype(np.float32)
    x[rng.random(x.shape) < recipe.missing] = np.nan
    y = (np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, -1]) + rng.normal(size=200) > 0.5) & recipe.balanced
    parameters = {
        "objective": "binary:logistic",
        "max_depth": recipe.depth,
        "base_score": recipe.base_score,
        "nthread": 1,
        "eta": 0.5,
        "min_child_weight": 0.1,
    }
    trained = xgboost.train(parameters, xgboost.DMatrix(x, y.astype(int)), recipe.trees)
    names = tuple(f"f{i}" for i in range(recipe.features))
    return trained, Forest.from_xgboost(bytes(trained.save_raw("ubj")), names)


def rows_near(forest: ForestArrays, rows: int, seed: int) -> np.ndarray:
    """Return rows of missing values, values exactly on a threshold of the forest, one step beside it, and others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, forest.features)).astype(np.float32)
    inner = forest.nodes[forest.nodes["feature"] >= 0]
    for feature in range(forest.features):
        thresholds = inner["threshold"][inner["feature"] == feature]
        if len(thresholds) and rows:
            exact = rng.choice(thresholds, rows)
            toward = rng.choice(np.array([-np.inf, np.inf], np.float32), rows)
            beside = np.where(rng.random(rows) < 0.5, exact, np.nextafter(exact, toward))
            x[:, feature] = np.where(rng.random(rows) < 0.7, beside, x[:, feature])
    x[rng.random(x.shape) < 0.15] = np.nan
    return x


recipes = st.builds(
    Recipe,
    features=st.sampled_from([1, 2, 5, 20]),
    trees=st.sampled_from([0, 1, 6, 20]),
    depth=st.sampled_from([1, 2, 5, 10]),
    base_score=st.sampled_from([0.5, 0.01, 0.3, 0.999]),
    missing=st.sampled_from([0.0, 0.2, 0.9]),
    seed=st.integers(0, 2),
    balanced=st.sampled_from([True, True, True, False]),
)


@examples(40)
@given(recipes, st.sampled_from([0, 1, 2, 33]), st.integers(0, 100))
def test_margins_and_contributions_equal_xgboost(recipe: Recipe, rows: int, seed: int):
    trained, forest = booster(recipe)
    x = rows_near(forest.arrays, rows, seed)
    margin, contributions = forest_contributions(forest.arrays, x)
    np.testing.assert_array_equal(forest_margin(forest.arrays, x), margin)
    assert forest.tree_count == recipe.trees
    if rows:
        matrix = xgboost.DMatrix(x)
        np.testing.assert_allclose(margin, trained.predict(matrix, output_margin=True), **MARGIN)
        theirs = trained.predict(matrix, pred_contribs=True, approx_contribs=True)
        np.testing.assert_allclose(contributions, theirs[:, :-1], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(forest.arrays.bias, theirs[:, -1], rtol=1e-4, atol=1e-4)


@examples(40)
@given(recipes, st.sampled_from([1, 2, 33]), st.integers(0, 100), st.booleans())
def test_compiled_kernel_equals_the_reference_with_infinities(recipe: Recipe, rows: int, seed: int, infinite: bool):
    """XGBoost refuses infinities; ours orders them like any other number."""
    forest = booster(recipe)[1].arrays
    x = rows_near(forest, rows, seed)
    if infinite:
        rng = np.random.default_rng(seed)
        x[rng.random(x.shape) < 0.3] = np.inf
        x[rng.random(x.shape) < 0.3] = -np.inf
    margin, contributions = forest_contributions(forest, x)
    truth_margin, truth = reference.forest_contributions(forest, x)
    np.testing.assert_array_equal(margin, truth_margin)
    np.testing.assert_allclose(contributions, truth, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(margin, forest.bias + contributions.sum(axis=1, dtype=np.float64), rtol=1e-4, atol=1e-4)


def test_a_value_on_the_threshold_goes_right():
    trained, forest = booster(Recipe(features=1, trees=1, depth=1, base_score=0.5, missing=0.0, seed=3))
    root = forest.arrays.nodes[0]
    assert root["feature"] == 0
    below, above = (float(forest.arrays.mean[root["left"] + side]) for side in (0, 1))
    assert below != above
    at = root["threshold"]
    x = np.array([[np.nextafter(at, np.float32(-np.inf))], [at], [-np.inf], [np.inf]], np.float32)
    np.testing.assert_allclose(forest.margins(x), np.array([below, above, below, above], np.float32), atol=1e-7)
    np.testing.assert_allclose(trained.predict(xgboost.DMatrix(x[:2]), output_margin=True), [below, above], atol=1e-7)


@pytest.mark.parametrize("trees", [0, 1, 5])
def test_trees_that_are_a_single_leaf(trees):
    """One class only: nothing to split on."""
    trained, forest = booster(Recipe(features=3, trees=trees, depth=4, base_score=0.3, missing=0.0, seed=1, balanced=False))
    assert (forest.arrays.nodes["feature"] == -1).all()
    x = np.full((2, 3), np.nan, np.float32)
    margin, contributions = forest_contributions(forest.arrays, x)
    np.testing.assert_allclose(margin, trained.predict(xgboost.DMatrix(x), output_margin=True), **MARGIN)
    assert not contributions.any()


def test_missing_values_take_each_node_s_own_default():
    _, forest = booster(Recipe(features=2, trees=20, depth=4, base_score=0.5, missing=0.4, seed=2))
    inner = forest.arrays.nodes[forest.arrays.nodes["feature"] >= 0]
    assert 0 < inner["default_left"].sum() < len(inner), "the model should use both directions"


def test_rows_may_be_a_view_of_wider_or_reversed_ones():
    _, forest = booster(Recipe(features=4, trees=10, depth=3, base_score=0.5, missing=0.2, seed=0))
    wide = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
    for view in (wide[:, 2:6], wide[::2, :4], wide[::-1, 1:5], np.broadcast_to(wide[0, :4], (3, 4))):
        np.testing.assert_array_equal(forest.margins(view), forest.margins(np.ascontiguousarray(view)))


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 3)),
        np.zeros((2, 2), np.float32),
        np.zeros((2, 4), np.float32),
        np.zeros(3, np.float32),
        np.zeros((3, 2), np.float32).T,
        np.zeros((2, 6), np.float32)[:, ::2],
    ],
    ids=["float64", "too narrow", "too wide", "one-dimensional", "transposed", "strided columns"],
)
def test_rows_that_do_not_fit_are_refused(x):
    _, forest = booster(Recipe(features=3, trees=2, depth=2, base_score=0.5, missing=0.0, seed=0))
    for function in (forest_margin, forest_contributions):
        with pytest.raises(KernelInputError, match=r"float32 \[B, 3\]"):
            function(forest.arrays, x)


def test_a_forest_cannot_be_changed_after_it_was_read():
    _, forest = booster(Recipe(features=3, trees=2, depth=2, base_score=0.5, missing=0.0, seed=0))
    for array in (forest.arrays.nodes, forest.arrays.mean, forest.arrays.roots):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]
    assert replace(forest.arrays, base=0.0).base == 0.0
