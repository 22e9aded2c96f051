"""The expression tree of a rule as JSON, and its type check.

A node is one of
    {"number": 12.5}                              number
    {"feature": "card.count.10m"}                 number; NaN where it is not known
    {"in_list": "blocked_devices"}                truth
    {"op": "add"|"subtract"|"multiply"|"divide", "args": [number, number]}        number
    {"op": "lt"|"le"|"gt"|"ge"|"eq"|"ne", "args": [number, number]}               truth
    {"op": "and"|"or", "args": [truth, ...]}, {"op": "not", "args": [truth]}      truth
    {"op": "is_missing", "args": [number]}                                        truth

Comparisons are those of floating-point arithmetic on float32 values: any with NaN is false, except "ne".
Dividing by zero is an error of the rule on that row, never a number; no connective hides it.
"""

from __future__ import annotations

import math
from typing import Any

from inference_core.errors import RuleError

MAX_NODES = 500
MAX_DEPTH = 32
ARITHMETIC = ("add", "subtract", "multiply", "divide")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
CONNECTIVES = ("and", "or")

_NUMBER, _TRUTH = "number", "truth"


def check_expression(
    node: Any, feature_names: frozenset[str] | set[str], list_names: frozenset[str] | set[str], *, rule_id: str
) -> None:
    """Refuse an expression that is not well formed, of type truth, and within the bounds of size.

    Raises:
        RuleError: with the rule and the place (a JSON Pointer) of the first fault.
    """
    checker = _Checker(feature_names, list_names, rule_id)
    kind = checker.kind_of(node, "", 1)
    if kind != _TRUTH:
        raise RuleError(f"rule {rule_id}: the whole expression must be true or false, not a {kind}; compare it with something")


class _Checker:
    def __init__(self, features, lists, rule_id: str) -> None:
        self._features, self._lists, self._rule_id = features, lists, rule_id
        self._nodes = 0

    def _fault(self, at: str, what: str) -> RuleError:
        return RuleError(f"rule {self._rule_id} at {at or '/'}: {what}")

    def kind_of(self, node: Any, at: str, depth: int) -> str:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise self._fault(at, f"the expression is too large (at most {MAX_NODES} nodes, {MAX_DEPTH} levels)")
        if not isinstance(node, dict):
            raise self._fault(at, "a node must be an object")
        keys = set(node)
        if keys == {"number"}:
            return self._number(node["number"], at)
        if keys == {"feature"}:
            return self._name(node["feature"], self._features, "feature", at, _NUMBER)
        if keys == {"in_list"}:
            return self._name(node["in_list"], self._lists, "list", at, _TRUTH)
        if keys == {"op", "args"} and isinstance(node["args"], list):
            return self._operation(node["op"], node["args"], at, depth)
        raise self._fault(at, "a node must be {number}, {feature}, {in_list} or {op, args}")

    def _number(self, value: Any, at: str) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float) or not _fits(value):
            raise self._fault(at, "a number must be finite, and not beyond the range of float64")
        return _NUMBER

    def _name(self, name: Any, known, what: str, at: str, kind: str) -> str:
        if not isinstance(name, str) or name not in known:
            raise self._fault(at, f"there is no {what} {str(name)[:60]!r}")
        return kind

    def _operation(self, op: Any, args: list, at: str, depth: int) -> str:
        kinds = [self.kind_of(arg, f"{at}/args/{i}", depth + 1) for i, arg in enumerate(args)]
        if op in ARITHMETIC or op in COMPARISONS:
            self._expect(op, kinds, [_NUMBER, _NUMBER], at)
            return _NUMBER if op in ARITHMETIC else _TRUTH
        if op in CONNECTIVES:
            self._expect(op, kinds, [_TRUTH] * max(len(kinds), 1), at)
        elif op == "not":
            self._expect(op, kinds, [_TRUTH], at)
        elif op == "is_missing":
            self._expect(op, kinds, [_NUMBER], at)
        else:
            raise self._fault(at, f"there is no operation {str(op)[:40]!r}")
        return _TRUTH

    def _expect(self, op: str, kinds: list[str], wanted: list[str], at: str) -> None:
        if kinds != wanted:
            raise self._fault(at, f"{op} takes ({', '.join(wanted)}), got ({', '.join(kinds)})")


def _fits(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
