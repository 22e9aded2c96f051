"""Rules: what is refused and where, and that a batch is evaluated as plain float32 arithmetic says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core import Rule, RuleError, RuleOutcome, rule_from_json, rule_to_json
from inference_core.compiler import compile_program
from inference_core.rules import MAX_DEPTH, MAX_NODES, check_expression
from kernels.score_rows import score_rows
from tests.inference_core.expressions import (
    FEATURES,
    LISTS,
    SCHEMA,
    TRUE,
    expected_outcome,
    node,
    rows,
    rule,
    truth_expressions,
)
from tests.strategies import examples


def outcomes(when, rows, requires=None, members=None) -> list[RuleOutcome]:
    x = np.array(rows, np.float32).reshape(-1, 3)
    memberships = np.zeros((len(x), 2), bool) if members is None else np.array(members, bool)
    return [RuleOutcome(code) for code in evaluated((rule(when, requires),), x, memberships)[:, 0]]


def evaluated(rules: tuple[Rule, ...], x: np.ndarray, memberships: np.ndarray) -> np.ndarray:
    """Return the outcome codes [B, R] of rules alone."""
    tables = compile_program(SCHEMA, rules, LISTS, None).tables
    return score_rows(tables, x, memberships).bits.codes(len(rules))


A, B = {"feature": "a"}, {"feature": "b"}

# --- evaluation against plain Python -------------------------------------------------------------------------------------


@examples(150)
@given(truth_expressions, st.none() | truth_expressions, rows)
def test_a_batch_equals_plain_evaluation_row_by_row(when, requires, rows):
    x = np.array([row[:3] for row in rows], np.float32)
    got = outcomes(when, x, requires, [row[3:] for row in rows])
    for row, values, outcome in zip(rows, x, got, strict=True):
        with np.errstate(all="ignore"):
            assert outcome is expected_outcome(rule(when, requires), values, row[3:])


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
