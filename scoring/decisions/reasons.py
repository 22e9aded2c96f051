"""Why: up to four ranked reasons, rule hits and the model's contributions on one scale."""

from __future__ import annotations

import math

import numpy as np
from msgspec import UNSET, Struct, UnsetType

from scoring.engine import FeatureColumn, FeatureSchema, Rule

MAX_REASONS = 4
# Contributions below this many log-odds change the probability by less than a hundredth part of itself.
LEAST_CONTRIBUTION = 0.05


class Reason(Struct, frozen=True, gc=False):
    """One reason. `weight` is in log-odds for the model, -ln(1 - weight) for a rule: larger means more."""

    code: str
    source: str
    text: str
    weight: float
    feature: str | UnsetType = UNSET
    value: float | None | UnsetType = UNSET
    rule_id: str | UnsetType = UNSET


def rule_reason(rule: Rule) -> Reason:
    """Return the reason that a hit of `rule` stands for."""
    source = "list" if "in_list" in rule.when else "rule"
    return Reason(code=f"{source}.{rule.rule_id}", source=source, text=rule.reason, weight=round(-math.log1p(-rule.weight), 4), rule_id=rule.rule_id)


def top_contributions(contributions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and values [n, MAX_REASONS] of the largest contributions of each row, largest first."""
    k = min(MAX_REASONS, contributions.shape[1])
    top = np.argpartition(contributions, contributions.shape[1] - k, axis=1)[:, -k:]
    values = np.take_along_axis(contributions, top, axis=1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)


def rank_reasons(rule_reasons: list[Reason], features: list[int], contributions: list[float], values: list[float], schema: FeatureSchema) -> list[Reason]:
    """Return the strongest reasons, at most four: `features` are positions with their contributions, in descending order."""
    reasons = list(rule_reasons)
    for position, contribution, value in zip(features, contributions, values, strict=True):
        if contribution < LEAST_CONTRIBUTION:
            break
        reasons.append(_model_reason(schema.columns[position], contribution, value))
    reasons.sort(key=lambda reason: -reason.weight)
    return reasons[:MAX_REASONS]


def _model_reason(column: FeatureColumn, contribution: float, value: float) -> Reason:
    known = not math.isnan(value)
    return Reason(
        code=f"model.{column.name}", source="model", text=describe(column, value), weight=round(contribution, 4),
        feature=column.name, value=float(f"{value:.6g}") if known else None,
    )  # fmt: skip


def describe(column: FeatureColumn, value: float) -> str:
    """Say a feature's value in words, e.g. "Number of transactions of this card in the last hour: 7"."""
    text = column.text[0].upper() + column.text[1:]
    if math.isnan(value):
        return f"{text}: not known"
    if column.unit == "0 or 1":
        return text if value else f"Not: {column.text}"
    return f"{text}: {_with_unit(value, column.unit)}"


def _with_unit(value: float, unit: str) -> str:
    if unit == "minor units":
        return f"{value / 100:,.2f}"
    if unit == "seconds":
        return _duration(value)
    if unit == "share":
        return f"{value:.1%}"
    if unit == "times":
        return f"{value:.1f} times"
    if unit in ("count", "hours", "day number", "code"):
        return f"{value:.0f}"
    return f"{value:.1f}"


def _duration(seconds: float) -> str:
    for name, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
