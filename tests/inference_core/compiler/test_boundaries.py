"""Values on a boundary, one float beside it, and what is no ordinary number: rules and trees against plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core import FeatureColumn, FeatureSchema, Rule, RuleOutcome
from inference_core.compiler import compile_program
from inference_core.compiler.ir import Tree
from kernels.score_rows import score_rows
from kernels.tables import Arithmetic
from tests.inference_core.expressions import LISTS, SCHEMA, evaluate, node, rule
from tests.strategies import examples

LARGEST, SMALLEST = float(np.finfo(np.float32).max), 1e-45
SPECIAL = [0.0, -0.0, SMALLEST, -SMALLEST, 1e-40, 1e-38, 0.1, 1.0, -1.0, 16777216.0, 16777217.0, LARGEST, -LARGEST]
A, B = {"feature": "a"}, {"feature": "b"}
OPS = ("lt", "le", "gt", "ge", "eq", "ne")


def around(values) -> list[float]:
    """Return each value, the floats beside it, infinities and NaN."""
    x = np.array(values, np.float32)
    with np.errstate(over="ignore"):
        beside = [np.nextafter(x, np.float32(direction)) for direction in (-np.inf, np.inf)]
    return np.concatenate([x, *beside, np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32)]).tolist()


def hits(rules: tuple[Rule, ...], x: np.ndarray) -> np.ndarray:
    tables = compile_program(SCHEMA, rules, LISTS, None).tables
    return score_rows(tables, x).bits.codes(len(rules)) == RuleOutcome.HIT


def expected_hits(rules: tuple[Rule, ...], x: np.ndarray) -> list[list[bool]]:
    with np.errstate(all="ignore"):
        return [[evaluate(of.when, dict(zip("abc", row, strict=True)), set()) for of in rules] for row in x]


@pytest.mark.parametrize("op", OPS)
def test_a_column_against_a_constant(op):
    constants = [*SPECIAL, 1e300, -1e300]  # the last two are infinite in float32
    rules = [rule(node(op, A, {"number": c}), rule_id=f"a{i}") for i, c in enumerate(constants)]
    rules += [rule(node("not", node(op, {"number": c}, A)), rule_id=f"b{i}") for i, c in enumerate(constants)]
    x = np.zeros((len(around(SPECIAL)), 3), np.float32)
    x[:, 0] = around(SPECIAL)
    assert hits(tuple(rules), x).tolist() == expected_hits(tuple(rules), x)


def test_each_constant_alone():
    """With one constant there is nothing else that could make up for a cut in the wrong place."""
    x = np.zeros((len(around(SPECIAL)), 3), np.float32)
    x[:, 0] = around(SPECIAL)
    for constant in [*SPECIAL, 1e300, -1e300]:
        for op in OPS:
            alone = (rule(node(op, A, {"number": constant})),)
            assert hits(alone, x).tolist() == expected_hits(alone, x), (op, constant)


@pytest.mark.parametrize("op", OPS)
def test_a_column_against_a_column(op):
    values = around(SPECIAL)
    x = np.array([[a, b, 0] for a in values for b in values], np.float32)
    rules = (rule(node(op, A, B)), rule(node("not", node(op, B, A)), rule_id="r2"))
    assert hits(rules, x).tolist() == expected_hits(rules, x)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply"])
def test_derived_columns_at_boundaries(name):
    values = [0.0, -0.0, SMALLEST, 1.0, np.nextafter(np.float32(1), np.float32(2)), LARGEST, math.inf, -math.inf, math.nan]
    x = np.array([[a, b, 0] for a in values for b in values], np.float32)
    constants = (0, SMALLEST, 1, LARGEST, 1e300)
    rules = tuple(rule(node(op, node(name, A, B), {"number": c}), rule_id=f"{op}{c}") for op in OPS for c in constants)
    assert hits(rules, x).tolist() == expected_hits(rules, x)
    assert Arithmetic[name.upper()] in compile_program(SCHEMA, rules, LISTS, None).tables.cuts.derived["op"]


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@examples(200)
@given(st.sampled_from(OPS), FINITE, st.lists(st.floats(width=32), min_size=1, max_size=4))
def test_any_constant_and_any_value(op, constant, values):
    x = np.zeros((len(around([constant, *values])), 3), np.float32)
    x[:, 0] = around([constant, *values])
    of = (rule(node(op, A, {"number": constant})), rule(node("not", node(op, A, {"number": constant})), rule_id="r2"))
    assert hits(of, x).tolist() == expected_hits(of, x)


# --- trees ---------------------------------------------------------------------------------------------------------------


def stump(threshold: float, default_left: bool, number: int) -> Tree:
    """One test of column 0: 1 to the left, 2 to the right, so that 2**number tells the trees apart."""
    left, right = 1.0 * 2**number, 2.0 * 2**number
    return Tree(
        number=number,
        feature=np.array([0, -1, -1], np.int32),
        threshold=np.array([threshold, 0, 0], np.float32),
        default_left=np.array([default_left, False, False]),
        left=np.array([1, 1, 2], np.int32),
        value=np.array([(left + right) / 2, left, right]),
        cover=np.array([2.0, 1.0, 1.0]),
        depth=1,
    )


def test_thresholds_of_trees_at_boundaries():
    schema = FeatureSchema((FeatureColumn("a", "count", "the a"),))
    x = np.array(around(SPECIAL), np.float32)[:, None]
    for threshold in [*SPECIAL, math.inf, -math.inf]:
        for default_left in (False, True):
            plan = compile_program(schema, (), (), (stump(threshold, default_left, 0),))
            at = float(np.float32(threshold))
            expected = [1.0 if (default_left if math.isnan(v) else v < at) else 2.0 for v in x[:, 0].tolist()]
            assert score_rows(plan.tables, x).margin.tolist() == expected, (threshold, default_left)


def test_a_forest_of_all_boundaries_at_once():
    """Many cuts of one column side by side, each tree's answer one binary digit of the margin."""
    schema = FeatureSchema((FeatureColumn("a", "count", "the a"),))
    x = np.array(around(SPECIAL), np.float32)[:, None]
    trees = tuple(stump(threshold, i % 2 == 0, i) for i, threshold in enumerate([*SPECIAL, math.inf, -math.inf]))
    expected = []
    for v in x[:, 0].tolist():
        lefts = [tree.default_left[0] if math.isnan(v) else v < float(tree.threshold[0]) for tree in trees]
        expected.append(float(sum((1 if left else 2) * 2**i for i, left in enumerate(lefts))))
    assert score_rows(compile_program(schema, (), (), trees).tables, x).margin.tolist() == expected


def test_rules_and_trees_share_cuts_and_stay_exact():
    """The rule asks exactly where the tree splits, on both sides of the cut."""
    schema = FeatureSchema((FeatureColumn("a", "count", "the a"),))
    for threshold in SPECIAL:
        rules = tuple(rule(node(op, A, {"number": threshold}), rule_id=op) for op in OPS)
        plan = compile_program(schema, rules, (), (stump(threshold, True, 0),))
        x = np.array(around([threshold]), np.float32)[:, None]
        scored = score_rows(plan.tables, x)
        at = float(np.float32(threshold))
        assert scored.margin.tolist() == [1.0 if math.isnan(v) or v < at else 2.0 for v in x[:, 0].tolist()]
        got = scored.bits.codes(len(rules)).astype(bool).tolist()
        with np.errstate(all="ignore"):
            assert got == [[evaluate(of.when, {"a": row[0]}, set()) for of in rules] for row in x]
