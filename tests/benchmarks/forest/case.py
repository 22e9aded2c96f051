"""The forest under comparison and the rows it scores."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

TRAINING_ROWS = 40_000
MISSING_SHARE = 0.05


@dataclass(frozen=True)
class Shape:
    """Size of a forest: trees T, depth D, features F."""

    trees: int
    depth: int
    features: int

    def __str__(self) -> str:
        return f"{self.trees} x {self.depth} x {self.features}"


@dataclass(frozen=True, eq=False)
class ForestCase:
    """A trained forest with rows to score.

    Attributes:
        shape: as trained.
        model: XGBoost's JSON of the forest, link identity, so that every engine's plain prediction is the margin.
        x_train, y_train: for the engines that run a forest of their own.
        nodes, train_s: of the forest.
        folder: where engines may put files.
    """

    shape: Shape
    model: bytes
    x_train: np.ndarray
    y_train: np.ndarray
    nodes: int
    train_s: float
    folder: Path

    @cached_property
    def model_file(self) -> Path:
        file = self.folder / "forest.json"
        file.write_bytes(self.model)
        return file

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(f"f{i}" for i in range(self.shape.features))

    def rows(self, count: int, missing: float, seed: int = 1) -> np.ndarray:
        """Return fresh rows [count, F] float32 of the training distribution, a share of the values missing."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((count, self.shape.features), np.float32)
        x[rng.random(x.shape, np.float32) < missing] = np.nan
        return x

    def margins(self, x: np.ndarray) -> np.ndarray:
        """Return XGBoost's margins [B] float32."""
        return self._booster.inplace_predict(x)

    @cached_property
    def _booster(self):
        import xgboost

        return xgboost.Booster(model_file=str(self.model_file))


def synthetic_data(features: int, rows: int, missing: float = MISSING_SHARE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return x [rows, F] float32 and labels [rows]: one in ten positive, a sparse linear score with two interactions."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features), np.float32)
    weight = rng.normal(size=features) * (rng.random(features) < 0.5)
    score = x @ weight + 1.5 * np.sin(x[:, 0] * x[:, 1] * 2) + x[:, 2] * x[:, 3]
    noisy = score + rng.normal(size=rows) * 2
    x[rng.random(x.shape, np.float32) < missing] = np.nan
    return x, (noisy > np.quantile(noisy, 0.9)).astype(np.int64)


def train_case(shape: Shape, folder: Path, rows: int = TRAINING_ROWS) -> ForestCase:
    """Train a forest of this shape with XGBoost."""
    import xgboost

    x, y = synthetic_data(shape.features, rows)
    parameters = {"max_depth": shape.depth, "eta": 0.1, "objective": "binary:logistic", "nthread": 2, "tree_method": "hist"}
    started = time.perf_counter()
    booster = xgboost.train(parameters, xgboost.DMatrix(x, y), shape.trees)
    train_s = time.perf_counter() - started
    model = json.loads(bytes(booster.save_raw("json")))
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    nodes = sum(len(tree["left_children"]) for tree in trees)
    return ForestCase(shape, with_identity_link(model), x, y, nodes, train_s, folder)


def with_identity_link(model: dict[str, Any]) -> bytes:
    """Return XGBoost's JSON of the same trees whose plain prediction is the margin."""
    learner = model["learner"]
    base = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
    margin = float(np.float32(math.log(base / (1 - base))))
    learner["learner_model_param"]["base_score"] = f"[{margin!r}]"
    learner["objective"] = {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}
    return json.dumps(model).encode()
