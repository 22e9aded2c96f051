"""The forest of the plain stack: its features, its training on made-up rows, its score of one transaction."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import xgboost

from tests.benchmarks.serving.plain_stack.serializers import CHANNELS, TYPES

TREES, DEPTH = 200, 6
TRAINING_ROWS = 20_000


class PlainForest:
    """An XGBoost model loaded once and asked once a request.

    Args:
        file: an XGBoost UBJ file; its number of features is the length of a row.
    """

    def __init__(self, file: Path) -> None:
        self._booster = xgboost.Booster(model_file=str(file))
        # Threads for one row of one request only wait for each other.
        self._booster.set_param({"nthread": 1})
        self._features = self._booster.num_features()
        # The first call imports SciPy: most of a second that belongs before the first request.
        self._booster.inplace_predict(np.zeros((1, self._features), dtype=np.float32))

    def probability(self, transaction: dict) -> float:
        """Return the fraud probability of one validated transaction."""
        values = payload_features(transaction)
        row = np.zeros((1, self._features), dtype=np.float32)
        row[0, : len(values)] = values
        return float(self._booster.inplace_predict(row)[0])


def payload_features(transaction: dict) -> list[float]:
    """Return what the payload itself tells: amount, time, kind, places."""
    occurred_at = transaction["occurred_at"]
    hour = occurred_at.hour + occurred_at.minute / 60
    amount = float(transaction["amount_minor"])
    country, home = transaction.get("country"), transaction.get("home_country")
    return [
        amount,
        math.log1p(amount),
        float(amount % 100 == 0),
        hour,
        math.sin(hour * math.pi / 12),
        math.cos(hour * math.pi / 12),
        float(occurred_at.weekday()),
        float(occurred_at.weekday() >= 5),
        float(int(transaction.get("mcc", 0))),
        float(country is not None and home is not None and country != home),
        transaction.get("latitude", math.nan),
        transaction.get("longitude", math.nan),
        float(transaction.get("card_present", False)),
        float(transaction.get("is_recurring", False)),
        float("device_id" in transaction),
        float("counterparty_id" in transaction),
        *(float(transaction["type"] == name) for name in TYPES),
        *(float(transaction["channel"] == name) for name in CHANNELS),
    ]


def train(file: Path, *, features: int, trees: int = TREES, depth: int = DEPTH, seed: int = 1) -> None:
    """Train on made-up rows whose label depends on every feature, so that the trees are as full as real ones."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(TRAINING_ROWS, features)).astype(np.float32)
    risk = rows @ rng.normal(size=features) / math.sqrt(features) + rng.normal(size=TRAINING_ROWS)
    labels = (risk > 1.5).astype(np.float32)
    parameters = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.1, "seed": seed, "nthread": 1}
    xgboost.train(parameters, xgboost.DMatrix(rows, labels), num_boost_round=trees).save_model(file)
