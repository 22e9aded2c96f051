"""Evaluation of all rules on a batch of rows: each rule becomes a closure over NumPy columns, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from inference_core.outcomes import RuleOutcome
from inference_core.rules.definition import Rule
from inference_core.rules.expressions import check_expression
from inference_core.schema import FeatureSchema

# values, faulty rows (or None where nothing can fail)
_Column = np.ndarray | np.float32
_Step = Callable[["_Batch"], _Column]

_BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip


class _Batch:
    """The rows under evaluation, and which of them a rule failed on."""

    def __init__(self, x: np.ndarray, memberships: np.ndarray) -> None:
        self.x, self.memberships = x, memberships
        self.faulty: np.ndarray | None = None

    def mark_faulty(self, rows: np.ndarray) -> None:
        self.faulty = rows if self.faulty is None else self.faulty | rows

    def report_faults(self, outcomes: np.ndarray) -> None:
        if self.faulty is not None:
            outcomes[self.faulty] = RuleOutcome.ERROR


class CompiledRules:
    """Rules checked against a schema and ready to run.

    Raises:
        RuleError: a rule names an unknown feature or list, or is not well formed.
    """

    def __init__(self, rules: tuple[Rule, ...], schema: FeatureSchema, list_names: tuple[str, ...]) -> None:
        self.rules = rules
        self._schema = schema
        self._lists = {name: i for i, name in enumerate(list_names)}
        features, lists = frozenset(schema.names), frozenset(list_names)
        for rule in rules:
            check_expression(rule.when, features, lists, rule_id=rule.rule_id)
            if rule.requires is not None:
                check_expression(rule.requires, features, lists, rule_id=rule.rule_id)
        self._steps = [(self._compile(r.when), self._compile(r.requires) if r.requires else None) for r in rules]

    def evaluate(self, x: np.ndarray, memberships: np.ndarray) -> np.ndarray:
        """Return RuleOutcome codes [B, R] uint8 for x [B, F] float32 and memberships [B, L] bool."""
        outcomes = np.zeros((len(x), len(self.rules)), np.uint8)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for r, (when, requires) in enumerate(self._steps):
                column = outcomes[:, r]
                batch = _Batch(x, memberships)
                column[:] = when(batch)  # False is NO_HIT, True is HIT
                batch.report_faults(column)
                if requires is not None:
                    # Looked at last: where it does not hold, `when` means nothing, its faults included.
                    needed = _Batch(x, memberships)
                    column[~np.asarray(requires(needed), bool)] = RuleOutcome.INSUFFICIENT_HISTORY
                    needed.report_faults(column)
        return outcomes

    def _compile(self, node: dict[str, Any]) -> _Step:
        if "number" in node:
            value = np.float32(node["number"])
            return lambda batch: value
        if "feature" in node:
            position = self._schema.index(node["feature"])
            return lambda batch: batch.x[:, position]
        if "in_list" in node:
            position = self._lists[node["in_list"]]
            return lambda batch: batch.memberships[:, position]
        return self._operation(node["op"], [self._compile(arg) for arg in node["args"]])

    def _operation(self, op: str, steps: list[_Step]) -> _Step:
        if op in _BINARY:
            function, (a, b) = _BINARY[op], steps
            return lambda batch: function(a(batch), b(batch))
        if op == "divide":
            a, b = steps
            return lambda batch: _divide(batch, a(batch), b(batch))
        if op == "is_missing":
            (a,) = steps
            return lambda batch: np.isnan(a(batch))
        if op == "not":
            (a,) = steps
            return lambda batch: np.logical_not(a(batch))
        combine = np.logical_and if op == "and" else np.logical_or
        return lambda batch: _fold(combine, batch, steps)


def _fold(combine, batch: _Batch, steps: list[_Step]) -> _Column:
    value = steps[0](batch)
    for step in steps[1:]:
        value = combine(value, step(batch))
    return value


def _divide(batch: _Batch, a: _Column, b: _Column) -> _Column:
    by_zero = np.broadcast_to(np.asarray(b) == 0, len(batch.x))
    if by_zero.any():
        batch.mark_faulty(by_zero)
    return np.divide(a, b)
