"""Programs over the declared features: the built-in rules, with and without a small forest. No database is asked."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import xgboost

from scoring.engine import Blend, Calibration, Forest, QuantisedNet, RiskProgram, Rule, default_policy, rule_from_json
from scoring.features.schema import current_schema
from scoring.rules.builtin import BUILTIN_RULES
from scoring.rules.lists import LISTS
from tests.inference_core.net.nets import random_net


def builtin_rules() -> tuple[Rule, ...]:
    return tuple(
        rule_from_json({"rule_id": rule_id, "version": 1, **of["definition"]}) for rule_id, of in sorted(BUILTIN_RULES.items())
    )


@functools.cache
def model_ubj() -> bytes:
    """A booster that looks at amounts and at the card's and customer's last day."""
    schema = current_schema()
    rng = np.random.default_rng(11)
    x = np.full((600, schema.width), np.nan, np.float32)
    for name, scale in (("amount_minor", 5_000), ("card.count.24h", 3), ("customer.count.24h", 3), ("card.sum.7d", 9_000)):
        x[:, schema.index(name)] = rng.exponential(scale, 600)
        x[rng.random(600) < 0.2, schema.index(name)] = np.nan
    risky = np.nan_to_num(x[:, schema.index("amount_minor")]) / 5_000 + np.nan_to_num(x[:, schema.index("card.count.24h")]) / 3
    matrix = xgboost.DMatrix(x, (risky + rng.normal(0, 0.5, 600) > 3).astype(int), feature_names=list(schema.names))
    return bytes(xgboost.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1}, matrix, 12).save_raw("ubj"))


def small_net(unit: float = 1e-6) -> QuantisedNet:
    """Return a net with random weights over the features that the forest looks at; what it finds speaks for fraud."""
    names = ("amount_minor", "card.count.24h", "customer.count.24h", "card.sum.7d", "merchant.count.1h")
    net = random_net(np.random.default_rng(5), names, members=2, widths=(64, 64))
    edges = tuple(np.sort(np.abs(of) * 4_000).astype(np.float32) for of in net.edges)
    return dataclasses.replace(net, edges=edges, unit=unit, centre=-1_000_000)


def program_with_net(version: str = "net-1", unit: float = 1e-6) -> RiskProgram:
    """Return risk_program with a net that weighs as much as the forest."""
    return risk_program(version=version, net=small_net(unit), blend=Blend(0.5, 0.5))


def risk_program(*, forest: bool = True, **changed: Any) -> RiskProgram:
    """Return a program like one that a training run builds."""
    fields = {
        "schema": current_schema(),
        "rules": builtin_rules(),
        "list_names": tuple(LISTS),
        "forest": Forest.from_xgboost(model_ubj(), current_schema().names) if forest else None,
        "calibration": Calibration.identity(),
        "policy": default_policy(),
        "version": "test-1",
    }
    return RiskProgram(**fields | changed)
