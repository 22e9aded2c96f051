"""The rules under comparison and the rows they run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

FEATURES = 20
CONDITIONS = 3
# Constants lie on this grid and are exact in float32 and float64, so that both compare alike; so do some of the values,
# which then lie exactly on a constant.
GRID = 1 / 1024


@dataclass(frozen=True)
class Condition:
    """`feature > constant` or `feature < constant`."""

    feature: int
    operator: str
    constant: float

    def text(self, name: str) -> str:
        return f"{name} {self.operator} {self.constant!r}"


Rules = tuple[tuple[Condition, ...], ...]


@dataclass(frozen=True, eq=False)
class RulesCase:
    """R rules, each a conjunction of conditions; `folder` is where engines may put files."""

    rules: Rules
    folder: Path
    features: int = FEATURES

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"f{i}" for i in range(self.features))

    def texts(self, conjunction: str = "and") -> list[str]:
        """Return each rule as an expression over the names."""
        return [f" {conjunction} ".join(c.text(self.names[c.feature]) for c in rule) for rule in self.rules]

    def hits(self, x: np.ndarray) -> np.ndarray:
        """Return hits [B, R] bool by NumPy, the truth that all engines must agree with."""
        return np.stack([np.logical_and.reduce([_holds(c, x) for c in rule]) for rule in self.rules], axis=1)

    @cached_property
    def product_rules(self) -> tuple:
        """The same rules as the product's."""
        from inference_core import Outcome, Rule

        return tuple(
            Rule(f"r{number}", 1, _expression(rule, self.names), None, Outcome.REVIEW, 0.5, "benchmark", "benchmark")
            for number, rule in enumerate(self.rules)
        )


def random_rules(count: int, seed: int = 0, features: int = FEATURES) -> Rules:
    """Return rules of CONDITIONS conditions each, every condition on another feature."""
    rng = np.random.default_rng(seed)
    return tuple(
        tuple(
            Condition(int(feature), str(rng.choice(("<", ">"))), round(float(rng.normal()) / GRID) * GRID)
            for feature in rng.choice(features, CONDITIONS, replace=False)
        )
        for _ in range(count)
    )


def random_rows(count: int, features: int = FEATURES, seed: int = 1) -> np.ndarray:
    """Return x [count, features] float32 in columns: each column lies together, as they come from a columnar store."""
    rng = np.random.default_rng(seed)
    columns = rng.standard_normal((features, count), np.float32)
    on_grid = rng.random(columns.shape, np.float32) < 0.1
    columns[on_grid] = np.round(columns[on_grid] / GRID) * GRID
    return columns.T


def columns_of(x: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return name -> contiguous column; no copy where x lies in columns."""
    return {name: np.ascontiguousarray(x[:, i]) for i, name in enumerate(names)}


def _holds(condition: Condition, x: np.ndarray) -> np.ndarray:
    value, constant = x[:, condition.feature], np.float32(condition.constant)
    return value > constant if condition.operator == ">" else value < constant


def _expression(rule: Sequence[Condition], names: Sequence[str]) -> dict:
    operators = {">": "gt", "<": "lt"}
    parts = [{"op": operators[c.operator], "args": [{"feature": names[c.feature]}, {"number": c.constant}]} for c in rule]
    return {"op": "and", "args": parts}
