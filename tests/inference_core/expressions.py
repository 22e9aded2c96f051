"""Rule expressions for tests: how to write them, generate them, and evaluate them in plain Python."""

from __future__ import annotations

import math
import operator

import numpy as np
from hypothesis import strategies as st

from inference_core import FeatureColumn, FeatureSchema, Outcome, Rule, RuleOutcome

FEATURES = ("a", "b", "c")
LISTS = ("blocked", "watched")
SCHEMA = FeatureSchema(tuple(FeatureColumn(name, "count", f"the {name}") for name in FEATURES))
TRUE = {"op": "ge", "args": [{"number": 1}, {"number": 0}]}


def rule(when, requires=None, **changed) -> Rule:
    fields = {"rule_id": "r1", "version": 1, "outcome": Outcome.REVIEW, "weight": 0.3, "reason": "because", "typology": "test"}
    return Rule(**fields | {"when": when, "requires": requires} | changed)


def node(op, *args) -> dict:
    return {"op": op, "args": list(args)}


# --- plain Python ----------------------------------------------------------------------------------------------------------

_PYTHON = {"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne}
_ARITHMETIC = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}


class _DividedByZero(Exception):
    pass


def evaluate(expression: dict, row: dict[str, np.float32], lists: set[str]):
    """Return the value of an expression for one row: every number rounded to float32 after each step."""
    if "number" in expression:
        return np.float32(expression["number"])
    if "feature" in expression:
        return row[expression["feature"]]
    if "in_list" in expression:
        return expression["in_list"] in lists
    values = [evaluate(arg, row, lists) for arg in expression["args"]]  # all of them: nothing is cut short
    op = expression["op"]
    if op in _PYTHON:
        return bool(_PYTHON[op](float(values[0]), float(values[1])))
    if op == "divide":
        if float(values[1]) == 0:
            raise _DividedByZero
        return np.float32(values[0] / values[1])
    if op in _ARITHMETIC:
        return np.float32(_ARITHMETIC[op](values[0], values[1]))
    return {"not": lambda v: not v[0], "and": all, "or": any, "is_missing": lambda v: math.isnan(v[0])}[op](values)


def expected_outcome(of: Rule, values: np.ndarray, members: tuple[bool, ...]) -> RuleOutcome:
    """Return what the rule says of one row."""
    named = dict(zip(FEATURES, values, strict=True))
    lists = {name for name, member in zip(LISTS, members, strict=True) if member}
    when, requires = of.when, of.requires
    try:
        if requires is not None and not evaluate(requires, named, lists):
            return RuleOutcome.INSUFFICIENT_HISTORY
        return RuleOutcome.HIT if evaluate(when, named, lists) else RuleOutcome.NO_HIT
    except _DividedByZero:
        return RuleOutcome.ERROR


# --- generated -----------------------------------------------------------------------------------------------------------

telling_values = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.1, 3.0, 1e30, -1e30, 1e-40, 1e-45, math.inf, -math.inf, math.nan, 16777217.0]
)
rows = st.lists(st.tuples(*[telling_values] * 3, st.booleans(), st.booleans()), min_size=1, max_size=5)
number_expressions = st.one_of(
    st.sampled_from([{"feature": name} for name in FEATURES]),
    st.builds(lambda v: {"number": v}, st.sampled_from([0, 1, -1, 0.1, 2.5, 1e30, 16777217, 1e300, 10**40])),
)
number_expressions = st.recursive(
    number_expressions,
    lambda inner: st.builds(node, st.sampled_from(["add", "subtract", "multiply", "divide"]), inner, inner),
    max_leaves=4,
)
truth_expressions = st.one_of(
    st.builds(node, st.sampled_from(sorted(_PYTHON)), number_expressions, number_expressions),
    st.builds(node, st.just("is_missing"), number_expressions),
    st.sampled_from([{"in_list": name} for name in LISTS]),
)
truth_expressions = st.recursive(
    truth_expressions,
    lambda inner: st.one_of(
        st.builds(node, st.just("not"), inner),
        st.builds(lambda op, args: node(op, *args), st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)
