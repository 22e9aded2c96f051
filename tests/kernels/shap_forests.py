"""Forests with covers on bins for the suite of tree_shap: random ones, and XGBoost's own, read from its JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import xgboost

from kernels.bin_features.reference import bin_features
from kernels.tables import MISSING, CutTable, TreeTable
from kernels.tree_shap import ShapTable

Split = tuple[int, int, int]  # column, shift, rank
Grown = tuple[Split | None, float, float, list]  # split or None, value, cover, both children


def random_table(
    seed: int, *, trees: int = 3, depth: int = 4, features: int = 4, stop: float = 0.2, dead: float = 0.0
) -> ShapTable:
    """Random trees; `stop` ends a branch early, `dead` gives a side of a split no cover at all."""
    rng = np.random.default_rng(seed)

    def grow(left_depth: int, cover: float) -> Grown:
        if left_depth == 0 or rng.random() < stop:
            return None, float(rng.normal()), cover, []
        part = rng.uniform(0.02, 0.98) if rng.random() >= dead else float(rng.integers(0, 2))
        split = int(rng.integers(features)), int(rng.integers(2)), int(rng.integers(1, 256))
        return split, 0.0, cover, [grow(left_depth - 1, cover * part), grow(left_depth - 1, cover * (1 - part))]

    return table_of([grow(depth, float(rng.uniform(1, 1000))) for _ in range(trees)], features, features, base=-0.75)


def random_bins(seed: int, table: ShapTable, rows: int) -> np.ndarray:
    """Bins [K, rows], a quarter of them missing."""
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, 256, (table.trees.columns, rows), np.uint8)
    bins[rng.random(bins.shape) < 0.25] = MISSING
    return bins


def table_of(roots: list[Grown], features: int, columns: int, base: float) -> ShapTable:
    """Lay trees out, level by level over the whole forest: the trees are not contiguous."""
    placed, left, level = list(roots), list(range(len(roots))), list(range(len(roots)))
    depth = 0
    while level := [node for node in level if placed[node][0] is not None]:
        depth += 1
        below = []
        for node in level:
            left[node] = len(placed)
            below += [len(placed), len(placed) + 1]
            placed += placed[node][3]
            left += below[-2:]
        level = below
    split = np.array([node[0] or (-1, 0, 0) for node in placed]).reshape(-1, 3)
    value, cover = (np.array([node[i] for node in placed], float) for i in (1, 2))
    scale = 30 - math.ceil(math.log2(np.abs(value).max(initial=1.0)))
    trees = TreeTable(
        column=split[:, 0], shift=split[:, 1], rank=split[:, 2], left=np.array(left), value=np.rint(value * 2.0**scale),
        feature=split[:, 0], roots=np.arange(len(roots)), depth=np.full(len(roots), depth), scale=scale, base=base,
        features=features, columns=columns,
    )  # fmt: skip
    return ShapTable(trees, cover)


def from_xgboost(booster: xgboost.Booster, x: np.ndarray) -> tuple[ShapTable, np.ndarray]:
    """Return the booster's forest and the bins of x [B, F] float32, one column a feature."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    trees = learner["gradient_booster"]["model"]["trees"]
    base = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
    features = x.shape[1]
    cuts = [_cuts(trees, feature) for feature in range(features)]
    offsets = np.cumsum([0, *map(len, cuts)])
    bins = bin_features(CutTable(np.concatenate(cuts), offsets, np.arange(features), features), x)
    roots = [_grown(tree, 0, cuts) for tree in trees]
    return table_of(roots, features, features, base=math.log(base / (1 - base))), bins


def _cuts(trees: list[dict], feature: int) -> np.ndarray:
    found = [
        threshold
        for tree in trees
        for of, threshold, left in zip(tree["split_indices"], tree["split_conditions"], tree["left_children"], strict=True)
        if left >= 0 and of == feature
    ]
    return np.unique(np.array(found, np.float32))


def _grown(tree: dict, node: int, cuts: list[np.ndarray]) -> Grown:
    cover, condition = tree["sum_hessian"][node], np.float32(tree["split_conditions"][node])
    if tree["left_children"][node] < 0:
        return None, float(condition), cover, []
    feature, default_left = tree["split_indices"][node], int(tree["default_left"][node])
    cut = int(np.searchsorted(cuts[feature], condition))
    children = [_grown(tree, tree[side][node], cuts) for side in ("left_children", "right_children")]
    return (feature, default_left, cut + 1 + default_left), 0.0, cover, children
