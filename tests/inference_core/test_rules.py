"""Rules: what is refused and where, and that a batch is evaluated as plain float32 arithmetic says."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core import FeatureColumn, FeatureSchema, Outcome, Rule, RuleError, RuleOutcome, rule_from_json, rule_to_json
from inference_core.compiler import compile_program
from inference_core.rules import MAX_DEPTH, MAX_NODES, check_expression
from inference_core.rules.codes import outcome_codes
from kernels.score_rows import score_rows
from tests.strategies import examples

FEATURES = ("a", "b", "c")
LISTS = ("blocked", "watched")
SCHEMA = FeatureSchema(tuple(FeatureColumn(name, "count", f"the {name}") for name in FEATURES))
TRUE = {"op": "ge", "args": [{"number": 1}, {"number": 0}]}


def rule(when, requires=None, **changed) -> Rule:
    fields = {"rule_id": "r1", "version": 1, "outcome": Outcome.REVIEW, "weight": 0.3, "reason": "because", "typology": "test"}
    return Rule(**fields | {"when": when, "requires": requires} | changed)


def outcomes(when, rows, requires=None, members=None) -> list[RuleOutcome]:
    x = np.array(rows, np.float32).reshape(-1, 3)
    memberships = np.zeros((len(x), 2), bool) if members is None else np.array(members, bool)
    return [RuleOutcome(code) for code in evaluated((rule(when, requires),), x, memberships)[:, 0]]


def evaluated(rules: tuple[Rule, ...], x: np.ndarray, memberships: np.ndarray) -> np.ndarray:
    """Return the outcome codes [B, R] of rules alone."""
    tables = compile_program(SCHEMA, rules, LISTS, None).tables
    return outcome_codes(score_rows(tables, x, memberships).bits, len(rules))


def node(op, *args) -> dict:
    return {"op": op, "args": list(args)}


A, B = {"feature": "a"}, {"feature": "b"}

# --- evaluation against plain Python -------------------------------------------------------------------------------------

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


_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 3.0, 1e30, -1e30, 1e-40, math.inf, -math.inf, math.nan, 16777217.0])
_numbers = st.one_of(
    st.sampled_from([{"feature": name} for name in FEATURES]),
    st.builds(lambda v: {"number": v}, st.sampled_from([0, 1, -1, 0.1, 2.5, 1e30, 16777217, 1e300, 10**40])),
)
_numbers = st.recursive(
    _numbers,
    lambda inner: st.builds(node, st.sampled_from(["add", "subtract", "multiply", "divide"]), inner, inner),
    max_leaves=4,
)
_truths = st.one_of(
    st.builds(node, st.sampled_from(sorted(_PYTHON)), _numbers, _numbers),
    st.builds(node, st.just("is_missing"), _numbers),
    st.sampled_from([{"in_list": name} for name in LISTS]),
)
_truths = st.recursive(
    _truths,
    lambda inner: st.one_of(
        st.builds(node, st.just("not"), inner),
        st.builds(lambda op, args: node(op, *args), st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)


@examples(150)
@given(
    _truths,
    st.none() | _truths,
    st.lists(st.tuples(_values, _values, _values, st.booleans(), st.booleans()), min_size=1, max_size=5),
)
def test_a_batch_equals_plain_evaluation_row_by_row(when, requires, rows):
    x = np.array([row[:3] for row in rows], np.float32)
    got = outcomes(when, x, requires, [row[3:] for row in rows])
    for row, values, outcome in zip(rows, x, got, strict=True):
        named = dict(zip(FEATURES, values, strict=True))
        lists = {name for name, member in zip(LISTS, row[3:], strict=True) if member}
        with np.errstate(all="ignore"):
            assert outcome is _expected(when, requires, named, lists)


def _expected(when, requires, named, lists) -> RuleOutcome:
    try:
        if requires is not None and not evaluate(requires, named, lists):
            return RuleOutcome.INSUFFICIENT_HISTORY
        return RuleOutcome.HIT if evaluate(when, named, lists) else RuleOutcome.NO_HIT
    except _DividedByZero:
        return RuleOutcome.ERROR


# --- written examples ----------------------------------------------------------------------------------------------------

HIT, NO_HIT, ERROR, INSUFFICIENT = RuleOutcome.HIT, RuleOutcome.NO_HIT, RuleOutcome.ERROR, RuleOutcome.INSUFFICIENT_HISTORY


@pytest.mark.parametrize(
    ("op", "expected"), [("lt", NO_HIT), ("le", NO_HIT), ("gt", NO_HIT), ("ge", NO_HIT), ("eq", NO_HIT), ("ne", HIT)]
)
def test_comparisons_with_a_value_that_is_not_known_are_false_but_for_ne(op, expected):
    assert outcomes(node(op, A, {"number": 1}), [[math.nan, 0, 0]]) == [expected]
    assert outcomes(node(op, A, B), [[math.nan, math.nan, 0]]) == [expected]


def test_numbers_are_compared_as_float32():
    """0.1 in a rule is the same number as 0.1 in a feature, though neither is a tenth."""
    assert outcomes(node("eq", A, {"number": 0.1}), [[0.1, 0, 0]]) == [HIT]
    assert outcomes(node("gt", A, {"number": 16777216}), [[16777217.0, 0, 0]]) == [NO_HIT]


def test_dividing_by_zero_is_an_error_of_that_row_alone():
    ratio = node("gt", node("divide", A, B), {"number": 2})
    assert outcomes(ratio, [[6, 2, 0], [6, 0, 0], [0, 0, 0], [6, -0.0, 0], [1, 2, 0], [6, math.nan, 0]]) == [
        HIT,
        ERROR,
        ERROR,
        ERROR,
        NO_HIT,
        NO_HIT,
    ]


def test_an_error_is_not_hidden_by_the_rest_of_the_expression():
    ratio = node("gt", node("divide", A, B), {"number": 2})
    assert outcomes(node("or", TRUE, ratio), [[1, 0, 0]]) == [ERROR]
    assert outcomes(node("and", node("not", TRUE), ratio), [[1, 0, 0]]) == [ERROR]


def test_an_error_of_one_rule_leaves_the_others_alone():
    faulty = rule(node("gt", node("divide", A, B), {"number": 2}))
    rules = (faulty, rule(TRUE, rule_id="r2"))
    assert evaluated(rules, np.zeros((1, 3), np.float32), np.zeros((1, 2), bool)).tolist() == [[ERROR, HIT]]


def test_without_enough_history_a_rule_says_so_and_does_not_hit():
    enough = node("ge", B, {"number": 5})
    assert outcomes(node("gt", A, {"number": 1}), [[9, 4, 0], [9, 5, 0], [0, 5, 0], [9, math.nan, 0]], enough) == [
        INSUFFICIENT,
        HIT,
        NO_HIT,
        INSUFFICIENT,
    ]


def test_requires_protects_the_rule_from_dividing_by_what_is_not_there():
    ratio, some = node("gt", node("divide", A, B), {"number": 2}), node("gt", B, {"number": 0})
    assert outcomes(ratio, [[6, 0, 0], [6, 2, 0]], some) == [INSUFFICIENT, HIT]


def test_an_error_in_requires_is_an_error():
    assert outcomes(TRUE, [[1, 0, 0]], node("gt", node("divide", A, B), {"number": 2})) == [ERROR]


def test_lists():
    assert outcomes({"in_list": "watched"}, np.zeros((2, 3)), members=[[1, 0], [0, 1]]) == [NO_HIT, HIT]


def test_no_rules_and_no_rows():
    assert evaluated((), np.zeros((4, 3), np.float32), np.zeros((4, 2), bool)).shape == (4, 0)
    assert outcomes(TRUE, np.zeros((0, 3))) == []


# --- refusals ------------------------------------------------------------------------------------------------------------

NUMBER = {"number": 1}


@pytest.mark.parametrize(
    ("expression", "place", "says"),
    [
        (A, "", "compare it"),
        ({"number": 3}, "", "compare it"),
        ("a > 1", "/", "must be an object"),
        ([TRUE], "/", "must be an object"),
        ({}, "/", "a node must be"),
        ({"feature": "a", "number": 1}, "/", "a node must be"),
        ({"op": "gt"}, "/", "a node must be"),
        ({"op": "gt", "args": A}, "/", "a node must be"),
        (node("between", A, NUMBER), "/", "no operation 'between'"),
        (node(["gt"], A, NUMBER), "/", "no operation"),
        (node("gt", A), "/", "gt takes (number, number)"),
        (node("gt", A, B, NUMBER), "/", "gt takes"),
        (node("gt", A, TRUE), "/", "got (number, truth)"),
        (node("and"), "/", "and takes"),
        (node("and", TRUE, A), "/", "and takes (truth, truth), got (truth, number)"),
        (node("not", TRUE, TRUE), "/", "not takes"),
        (node("not", A), "/", "not takes"),
        (node("is_missing", TRUE), "/", "is_missing takes"),
        (node("and", TRUE, node("or", TRUE, node("gt", A, {"feature": "zzz"}))), "/args/1/args/1/args/1", "no feature 'zzz'"),
        (node("or", {"in_list": "nobody"}), "/args/0", "no list 'nobody'"),
        (node("gt", {"feature": 7}, NUMBER), "/args/0", "no feature"),
        (node("gt", {"feature": ["a"]}, NUMBER), "/args/0", "no feature"),
        (node("gt", A, {"number": math.nan}), "/args/1", "finite"),
        (node("gt", A, {"number": math.inf}), "/args/1", "finite"),
        (node("gt", A, {"number": 10**400}), "/args/1", "finite"),
        (node("gt", A, {"number": True}), "/args/1", "finite"),
        (node("gt", A, {"number": "1"}), "/args/1", "finite"),
        (node("gt", A, {"number": None}), "/args/1", "finite"),
    ],
)
def test_a_fault_is_told_with_rule_and_place(expression, place, says):
    with pytest.raises(RuleError) as refused:
        check_expression(expression, set(FEATURES), set(LISTS), rule_id="my_rule")
    message = str(refused.value)
    assert message.startswith(f"rule my_rule at {place}: " if place else "rule my_rule: ")
    assert says in message


def test_faults_in_requires_are_found_when_the_rules_are_built():
    with pytest.raises(RuleError, match="no feature 'zzz'"):
        compile_program(SCHEMA, (rule(TRUE, node("gt", {"feature": "zzz"}, NUMBER)),), LISTS, None)


def _deep(levels: int) -> dict:
    expression = TRUE  # two levels by itself
    for _ in range(levels - 2):
        expression = node("not", expression)
    return expression


def test_depth_is_limited():
    check_expression(_deep(MAX_DEPTH), set(), set(), rule_id="r")
    for levels in (MAX_DEPTH + 1, 50_000):
        with pytest.raises(RuleError, match="too large"):
            check_expression(_deep(levels), set(), set(), rule_id="r")


def test_size_is_limited():
    check_expression(node("and", *[TRUE] * ((MAX_NODES - 1) // 3)), set(), set(), rule_id="r")
    with pytest.raises(RuleError, match="too large"):
        check_expression(node("and", *[TRUE] * (MAX_NODES // 3 + 1)), set(), set(), rule_id="r")


@pytest.mark.parametrize("changed", [{"weight": 1.0}, {"weight": -0.1}, {"weight": math.nan}, {"rule_id": ""}, {"reason": ""}])
def test_a_rule_without_sense_is_refused(changed):
    with pytest.raises(RuleError):
        rule(TRUE, **changed)


# --- as JSON -------------------------------------------------------------------------------------------------------------


def test_a_rule_survives_json():
    original = rule(node("gt", A, NUMBER), TRUE)
    assert rule_from_json(rule_to_json(original)) == original


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("when"),
        lambda d: d.update(outcome="maybe"),
        lambda d: d.update(extra=1),
        lambda d: d.pop("outcome"),
        lambda d: d.update(weight="high"),
    ],
)
def test_a_damaged_rule_is_refused(damage):
    document = rule_to_json(rule(TRUE))
    damage(document)
    with pytest.raises(RuleError, match="r1"):
        rule_from_json(document)
