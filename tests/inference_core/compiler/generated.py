"""Random rules and random XGBoost forests over three columns, and rows on and beside all that they are cut at."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import xgboost
from hypothesis import strategies as st

from inference_core import Forest, Rule
from tests.inference_core.expressions import FEATURES, node, rule, truth_expressions


@dataclass(frozen=True)
class Recipe:
    """How a booster is made: small enough for milliseconds, odd enough to find edges."""

    features: int = 3
    trees: int = 5
    depth: int = 3
    base_score: float = 0.5
    missing: float = 0.2
    seed: int = 0
    digits: int = 2
    balanced: bool = True
    objective: str = "binary:logistic"
    rows: int = 200
    max_bin: int = 256
    target: float = 10.0


@functools.cache
def trained(recipe: Recipe) -> tuple[xgboost.Booster, Forest]:
    """Return XGBoost's booster and ours, which was read from its file."""
    rng = np.random.default_rng(recipe.seed)
    x = np.round(rng.normal(size=(recipe.rows, recipe.features)), recipe.digits).astype(np.float32)
    x[rng.random(x.shape) < recipe.missing] = np.nan
    signal = np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, -1]) + rng.normal(size=recipe.rows)
    target = (signal > 0.5).astype(float) if recipe.objective.startswith("binary") else recipe.target * signal
    parameters = {
        "objective": recipe.objective, "max_depth": recipe.depth, "base_score": recipe.base_score, "nthread": 1, "eta": 0.5,
        "min_child_weight": 0.1, "max_bin": recipe.max_bin,
    }  # fmt: skip
    names = FEATURES if recipe.features == 3 else tuple(f"f{i}" for i in range(recipe.features))
    matrix = xgboost.DMatrix(x, target * recipe.balanced, feature_names=list(names))
    booster = xgboost.train(parameters, matrix, recipe.trees)
    return booster, Forest.from_xgboost(bytes(booster.save_raw("ubj")), names)


recipes = st.builds(
    Recipe,
    trees=st.sampled_from([0, 1, 6, 20]),
    depth=st.sampled_from([1, 2, 5, 10, 16]),
    base_score=st.sampled_from([0.5, 0.01, 0.3, 0.999]),
    missing=st.sampled_from([0.0, 0.2, 0.9]),
    seed=st.integers(0, 2),
    balanced=st.sampled_from([True, True, True, False]),
)


@st.composite
def rule_sets(draw: st.DrawFn) -> tuple[Rule, ...]:
    """Up to five rules which share some of their parts."""
    parts = draw(st.lists(truth_expressions, min_size=1, max_size=4))
    shared = st.sampled_from(parts)
    several = st.lists(shared | truth_expressions, min_size=2, max_size=4)
    joined = st.builds(lambda op, args: node(op, *args), st.sampled_from(["and", "or"]), several)
    whole = st.one_of(shared, joined, st.builds(lambda of: node("not", of), joined))
    pairs = draw(st.lists(st.tuples(whole, st.none() | whole), max_size=5))
    return tuple(replace(rule(when, requires), rule_id=f"r{i}") for i, (when, requires) in enumerate(pairs))


def rows_near(forest: Forest, rows: int, seed: int, *, infinite: bool = False) -> np.ndarray:
    """Return rows of missing values, values exactly on a threshold of the forest, one step beside it, and others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, len(forest.feature_names))).astype(np.float32)
    for feature in range(x.shape[1]):
        cuts = [tree.threshold[tree.feature == feature] for tree in forest.trees]
        cuts = np.concatenate(cuts) if cuts else np.zeros(0, np.float32)
        if len(cuts) and rows:
            exact = rng.choice(cuts, rows)
            toward = rng.choice(np.array([-np.inf, np.inf], np.float32), rows)
            beside = np.where(rng.random(rows) < 0.5, exact, np.nextafter(exact, toward))
            x[:, feature] = np.where(rng.random(rows) < 0.7, beside, x[:, feature])
    special = [np.nan, *([np.inf, -np.inf, -0.0, 1e-45] if infinite else [])]
    for value in special:
        x[rng.random(x.shape) < 0.15 / len(special) ** 0.5] = value
    return x
