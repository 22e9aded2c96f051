"""Where the search draws its recipes from.

The ranges are the second, narrower ones; search.md says what a first, wider round showed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from tests.benchmarks.accuracy.feature_groups import GROUPS
from tests.benchmarks.accuracy.recipe import Recipe

Kind = Literal["week", "history"]
KINDS: tuple[Kind, ...] = ("week", "history")
ALL_DAYS = 10_000
_GROUPS = [group for group in GROUPS if group != "all"]


def random_recipe(kind: Kind, generator: np.random.Generator) -> Recipe:
    """Draw one recipe: seven training days ("week"), or all matured ones ("history")."""

    def one_of(*values):
        return values[generator.integers(len(values))]

    def between(low: float, high: float) -> float:
        return float(np.round(np.exp(generator.uniform(np.log(low), np.log(high))), 4))

    is_week = kind == "week"
    eta = between(0.02, 0.08) if is_week else between(0.04, 0.12)
    return Recipe(
        group=one_of(*_GROUPS),
        history_days=7 if is_week else ALL_DAYS,
        first_day=0 if is_week else one_of(0, 14, 30, 37),
        good_share=1.0 if is_week else one_of(1.0, 0.5, 0.25),
        # Few and large steps where there are many rows: the command has to be done in minutes.
        trees=int(np.clip(between(3, 20) / eta, 60, 400 if is_week else 300)),
        boosters=1,
        parameters={
            "eta": eta,
            "max_depth": one_of(4, 5, 6, 7, 8),
            "subsample": one_of(0.7, 0.85, 1.0) if is_week else one_of(0.5, 0.7, 0.85),
            "colsample_bytree": one_of(0.35, 0.5, 0.65, 0.8),
            "min_child_weight": one_of(1, 3, 5, 10) if is_week else one_of(3, 5, 10, 20),
            "lambda": one_of(0.3, 1, 3),
            "gamma": one_of(0, 0.3, 1.0),
            # With few bins the forest cannot place a cut in the amount exactly.
            "max_bin": one_of(256, 512, 1024),
            "scale_pos_weight": one_of(1, 3),
        },
    )
