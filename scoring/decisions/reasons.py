"""Why: up to four ranked reasons, rule hits and the model's contributions on one scale."""

from __future__ import annotations

import math
from typing import Any

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
    source = "list" if _asks_lists_alone(rule.when) else "rule"
    return Reason(
        code=f"{source}.{rule.rule_id}",
        source=source,
        text=rule.reason,
        weight=round(-math.log1p(-rule.weight), 4),
        rule_id=rule.rule_id,
    )


def _asks_lists_alone(node: dict[str, Any]) -> bool:
    return "in_list" in node or ("op" in node and all(_asks_lists_alone(arg) for arg in node["args"]))


class ModelReasons:
    """Turns the largest contributions of a row into reasons; keeps what is the same for every row."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._columns = [(column, f"model.{column.name}", _capitalised(column.text)) for column in schema.columns]

    def of(self, positions: list[int], contributions: list[float], values: list[float]) -> list[Reason]:
        """Return the reasons for features at `positions` with these contributions (descending) and values."""
        found = []
        for position, contribution, value in zip(positions, contributions, values, strict=True):
            if contribution < LEAST_CONTRIBUTION:
                break
            column, code, text = self._columns[position]
            known = value == value
            found.append(
                Reason(
                    code=code, source="model", text=_say(text, column, value), weight=round(contribution, 4),
                    feature=column.name, value=round(value, 4) if known else None,
                )
            )  # fmt: skip
        return found


def strongest(rule_reasons: list[Reason], model_reasons: list[Reason]) -> list[Reason]:
    """Return the strongest reasons of both kinds, at most MAX_REASONS, strongest first."""
    if not rule_reasons:
        return model_reasons[:MAX_REASONS]
    return sorted([*rule_reasons, *model_reasons], key=lambda reason: -reason.weight)[:MAX_REASONS]


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def _say(text: str, column: FeatureColumn, value: float) -> str:
    """Say a feature's value in words, e.g. "Number of transactions of this card in the last hour: 7"."""
    if value != value:
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
