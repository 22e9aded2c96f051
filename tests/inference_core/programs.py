"""A small program with rules, lists and a forest, for tests."""

from __future__ import annotations

import functools

import numpy as np
import xgboost

from inference_core import Calibration, FeatureColumn, FeatureSchema, Forest, Outcome, RiskProgram, Rule, default_policy

SCHEMA = FeatureSchema((FeatureColumn("amount", "minor units", "amount"), FeatureColumn("count", "count", "number of payments")))
RULES = (
    Rule(
        "large",
        1,
        {"op": "gt", "args": [{"feature": "amount"}, {"number": 100}]},
        None,
        Outcome.REVIEW,
        0.2,
        "The amount is large",
        "test",
    ),
    Rule("blocked", 2, {"in_list": "blocked"}, None, Outcome.DECLINE, 0.9, "The card is blocked", "test"),
)


@functools.cache
def model_ubj() -> bytes:
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 200, (200, 2)).astype(np.float32)
    y = (x[:, 0] + 20 * rng.normal(size=200) > 120).astype(int)
    matrix = xgboost.DMatrix(x, y, feature_names=list(SCHEMA.names))
    return bytes(xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, matrix, 5).save_raw("ubj"))


def program(**changed) -> RiskProgram:
    fields = {
        "schema": SCHEMA, "rules": RULES, "list_names": ("blocked",), "forest": Forest.from_xgboost(model_ubj(), SCHEMA.names),
        "calibration": Calibration(0.8, -0.5), "policy": default_policy(), "version": "v1",
    }  # fmt: skip
    return RiskProgram(**fields | changed)


X = np.array([[50, 1], [150, 2], [np.nan, np.nan], [0, 0], [199, 1]], np.float32)
