"""A random forest with real thresholds, made without XGBoost, and the same forest as an XGBoost model file for the peer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kernels.score_rows import ScoreTables
from kernels.tables import INSTRUCTION, MISSING, NEVER, Combine, CutTable, RuleTable, Source, TreeTable

BASE = 0.0  # XGBoost's base_score 0.5 as log-odds


@dataclass(frozen=True)
class Forest:
    """Attributes:
    tables: cuts, 50 rules and trees.
    thresholds: [N] float32, a node's threshold, NaN at leaves.
    """

    tables: ScoreTables
    thresholds: np.ndarray


def random_forest(seed: int = 0, trees: int = 200, depth: int = 6, features: int = 32, cuts: int = 220, rules: int = 50,
                  missing_left: float = 0.0, scale: int = 32) -> Forest:  # fmt: skip
    """Return complete trees over features that are normal with mean 0 and deviation 2, split where the rows are.

    Leaves shrink as boosting's do; missing_left is the share of nodes that send missing values left.
    """
    rng = np.random.default_rng(seed)
    sorted_cuts = np.sort(np.float32(rng.normal(0, 2, (features, cuts))), axis=1)
    assert (np.diff(sorted_cuts) > 0).all()
    per_tree = 2 ** (depth + 1) - 1
    heap = np.arange(per_tree)
    inner = np.tile(heap < 2**depth - 1, trees)
    column = np.where(inner, rng.integers(0, features, trees * per_tree), -1)
    cut = rng.binomial(cuts - 1, rng.uniform(0.1, 0.9, trees * per_tree))
    shift = (rng.random(trees * per_tree) < missing_left) & inner
    leaf = rng.normal(0, 1, (trees, per_tree)) / (1 + np.arange(trees)[:, None]) ** 0.5
    value = np.where(heap >= 2**depth - 1, np.round(np.clip(leaf, -2, 2) * 0.1 * 2**scale), 0).astype(np.int64)
    for node in reversed(range(2**depth - 1)):
        value[:, node] = (value[:, 2 * node + 1] + value[:, 2 * node + 2]) // 2
    left = (np.arange(trees)[:, None] * per_tree + np.where(heap < 2**depth - 1, 2 * heap + 1, heap)).ravel()
    table = TreeTable(
        column, shift, np.where(inner, cut + 1 + shift, 0), left, value.ravel(), column, np.arange(trees) * per_tree,
        np.full(trees, depth), scale, BASE, features, features,
    )  # fmt: skip
    cut_table = CutTable(sorted_cuts.ravel(), np.arange(features + 1) * cuts, np.arange(features), features)
    thresholds = np.where(inner, sorted_cuts[np.maximum(column, 0), cut], np.float32(np.nan))
    return Forest(ScoreTables(cut_table, analyst_rules(rng, features, cuts, rules), table), thresholds)


def analyst_rules(rng: np.random.Generator, features: int, cuts: int, rules: int) -> RuleTable:
    """Return rules of three comparisons each, joined by and / or, that lack history where one of their columns is missing."""
    steps = []
    for rule in range(rules):
        columns = rng.choice(features, 3, replace=False)
        for i, column in enumerate(columns):
            low, width = (0, rng.integers(1, cuts)) if rng.random() < 0.5 else (rng.integers(1, cuts), MISSING - 1)
            op = Combine.SET if i == 0 else Combine.AND if rng.random() < 0.7 else Combine.OR
            # Between low and the last bin, so that a missing value is in no interval.
            steps.append((op, Source.PREDICATE, 0, low, min(width, MISSING - low), 0, column, rule if i == 2 else NEVER))
        for i, column in enumerate(columns):
            op, store = Combine.OR if i else Combine.SET, rules + rule if i == 2 else NEVER
            steps.append((op, Source.PREDICATE, 0, MISSING, 1, 0, column, store))
    number = np.arange(rules)
    return RuleTable(np.array(steps, INSTRUCTION), 2 * rules, number, rules + number, np.full(rules, NEVER), features)


def random_rows(rows: int, features: int = 32, seed: int = 1, missing: float = 0.0) -> np.ndarray:
    """Return rows [B, F] float32 of the distribution that the thresholds come from."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features), np.float32) * np.float32(2)
    if missing:
        x[rng.random(x.shape, np.float32) < missing] = np.nan
    return x


def write_xgboost_json(forest: Forest, path: Path) -> None:
    """Write the forest as XGBoost's JSON model, binary:logistic."""
    trees = forest.tables.trees
    bounds = [*trees.roots.tolist(), len(trees.column)]
    models = [_tree(forest, number, *span) for number, span in enumerate(zip(bounds[:-1], bounds[1:], strict=True))]
    parameter = {"num_parallel_tree": "1", "num_trees": str(len(models))}
    learner = {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "gradient_booster": {"model": {"gbtree_model_param": parameter, "iteration_indptr": list(range(len(models) + 1)),
                                       "tree_info": [0] * len(models), "trees": models}, "name": "gbtree"},
        "learner_model_param": {"base_score": "5E-1", "boost_from_average": "1", "num_class": "0",
                                "num_feature": str(trees.features), "num_target": "1"},
        "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
    }  # fmt: skip
    path.write_text(json.dumps({"learner": learner, "version": [3, 0, 0]}))


def _tree(forest: Forest, number: int, first: int, last: int) -> dict:
    trees, nodes = forest.tables.trees, last - first
    inner = trees.column[first:last] >= 0
    left = trees.left[first:last] - first
    parents = np.full(nodes, 2147483647)
    parents[left[inner]] = parents[left[inner] + 1] = np.flatnonzero(inner)
    leaf = trees.value[first:last] * 2.0**-trees.scale
    none = {f"categories{name}": [] for name in ("", "_nodes", "_segments", "_sizes")}
    return {
        "base_weights": leaf.tolist(), **none, "default_left": trees.shift[first:last].astype(int).tolist(), "id": number,
        "left_children": np.where(inner, left, -1).tolist(),
        "loss_changes": [0.0] * nodes, "parents": parents.tolist(), "right_children": np.where(inner, left + 1, -1).tolist(),
        "split_conditions": np.where(inner, forest.thresholds[first:last].astype(np.float64), leaf).tolist(),
        "split_indices": np.maximum(trees.column[first:last], 0).tolist(), "split_type": [0] * nodes,
        "sum_hessian": [1.0] * nodes,
        "tree_param": {"num_deleted": "0", "num_feature": str(trees.features), "num_nodes": str(nodes), "size_leaf_vector": "1"},
    }  # fmt: skip
