"""From matured rows to a program that serves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost

from scoring.engine import Calibration, Forest, RiskProgram, default_policy
from scoring.features.schema import current_schema
from tests.benchmarks.accuracy.averaging import averaged_model
from tests.benchmarks.accuracy.delivery import UNKNOWN
from tests.benchmarks.accuracy.feature_groups import columns_of
from tests.benchmarks.accuracy.protocol import Fold, ProtocolError
from tests.benchmarks.accuracy.recipe import Recipe


@dataclass(frozen=True)
class TrainedModel:
    """What training leaves behind.

    Attributes:
        columns: the features that the boosters read, in their order.
        boosters: XGBoost's own models, to check the program against.
    """

    columns: tuple[str, ...]
    boosters: list[xgboost.Booster]

    def margins(self, x: np.ndarray) -> np.ndarray:
        """Return XGBoost's own mean log-odds [n] float64 of rows x [n, len(columns)] float32."""
        rows = xgboost.DMatrix(x, feature_names=list(self.columns), nthread=1)
        return np.mean([b.predict(rows, output_margin=True).astype(np.float64) for b in self.boosters], axis=0)

    def served_model(self) -> bytes:
        """Return the one XGBoost model (JSON, over the schema's columns) that the program runs."""
        raw = [bytes(booster.save_raw("json")) for booster in self.boosters]
        return averaged_model(raw, self.columns, current_schema().names)

    def program(self, version: str) -> RiskProgram:
        """Return the program that `score_batch` runs: this model alone, without rules, since models are compared."""
        schema = current_schema()
        forest = Forest.from_xgboost(self.served_model(), schema.names)
        return RiskProgram(schema, (), (), forest, Calibration.identity(), default_policy(), version)


def training_days(fold: Fold, recipe: Recipe) -> tuple[int, int]:
    """Return (first, end) of the days that a model for this fold learns from; never less than the training week."""
    return min(max(fold.train_end - recipe.history_days, recipe.first_day, 0), fold.train_start), fold.train_end


def train(recipe: Recipe, x: np.ndarray, fraud: np.ndarray, *, threads: int) -> TrainedModel:
    """Train the recipe's boosters.

    Args:
        x: [n, C] float32, the columns of the recipe's group in their order.
        fraud: [n] labels as delivered, 0 or 1.

    Raises:
        ProtocolError: a label has not been delivered yet, or there is no fraud to learn from.
    """
    if np.any(fraud == UNKNOWN):
        raise ProtocolError("training days have labels that are not known yet")
    if not fraud.any():
        raise ProtocolError("the training days have no fraud to learn from")
    told = _informative(x)
    names = tuple(name for name, keep in zip(columns_of(recipe.group), told, strict=True) if keep)
    x = x if told.all() else x[:, told]
    boosters = [_boost(recipe, seed, names, x, fraud, threads) for seed in range(recipe.boosters)]
    return TrainedModel(names, boosters)


def _informative(x: np.ndarray) -> np.ndarray:
    """Return [C] bool: the column has at least two values in these rows (unknown counts as one)."""
    low, high = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)
    return ~np.isnan(low) & ((low < high) | np.isnan(x).any(axis=0))


def _boost(recipe: Recipe, seed: int, names: tuple[str, ...], x: np.ndarray, fraud: np.ndarray, threads: int) -> xgboost.Booster:
    rows = slice(None)
    weight = None
    if recipe.good_share < 1:
        drawn = np.random.default_rng(seed).random(len(fraud)) < recipe.good_share
        rows = np.flatnonzero(drawn | (fraud == 1))
        weight = np.where(fraud[rows] == 1, 1.0, 1.0 / recipe.good_share)
    settings = dict(recipe.parameters)
    max_bin = settings.pop("max_bin", 256)
    matrix = xgboost.QuantileDMatrix(
        x[rows], fraud[rows], weight=weight, feature_names=list(names), nthread=threads, max_bin=int(max_bin)
    )
    settings |= {"objective": "binary:logistic", "tree_method": "hist", "seed": seed, "nthread": threads, "verbosity": 0}
    return xgboost.train(settings | {"max_bin": int(max_bin)}, matrix, recipe.trees)
