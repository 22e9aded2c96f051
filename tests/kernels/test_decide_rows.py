"""From scores to decisions: compiled and reference alike, and what the contract says by name."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.calibration import Calibration
from inference_core.policy import CostPolicy
from kernels.decide_rows import Costs, DecidedRows, DecideTable, RowFlags, decide_rows, reference
from kernels.errors import KernelInputError
from kernels.score_rows import ScoredRows
from kernels.tables import RuleBits
from tests.strategies import examples

APPROVE, STEP_UP, REVIEW, HOLD, DECLINE = range(5)
NO_HIT, HIT, INSUFFICIENT, ERROR = range(4)
FLAGS = RowFlags(always=1 << 7, late=1 << 6, missing=1 << 1, error=1 << 4)
POLICY = CostPolicy()


def table(
    demands: list[tuple[int, int, float]] = (), *, policy: CostPolicy = POLICY, has_model: bool = True, **line
) -> DecideTable:
    on_hit, on_error, survival = zip(*demands, strict=True) if demands else ((), (), ())
    whole = (np.array(on_hit, np.uint8), np.array(on_error, np.uint8), np.array(survival, np.float64))
    return DecideTable(line.get("slope", 1.0), line.get("intercept", 0.0), policy.costs, *whole, has_model)


def words(codes: np.ndarray, *of: int) -> np.ndarray:
    """Return the words [n, W] in which a rule's bit says that its code is one of these."""
    padded = np.zeros((len(codes), max(1, -(-codes.shape[1] // 64)) * 64 if codes.shape[1] else 0), np.uint8)
    padded[:, : codes.shape[1]] = np.isin(codes, of)
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def scored_rows(margin: list[float], codes: list[list[int]], rules: int, top: np.ndarray | None = None) -> ScoredRows:
    n = len(margin)
    codes = np.array(codes or [[]] * n, np.uint8).reshape(n, rules) if n else np.zeros((0, rules), np.uint8)
    bits = RuleBits(words(codes, HIT), words(codes, INSUFFICIENT), words(codes, ERROR))
    top = np.full((n, 1), -1, np.int32) if top is None else top
    return ScoredRows.of(np.array(margin, np.float32), bits, top, np.zeros(top.shape, np.float32))


def decide(
    of: DecideTable, margin: list[float], codes: list[list[int]] = (), amounts: list[int] | None = None, **more: Any
) -> DecidedRows:
    n = len(margin)
    x = more.get("x", np.zeros((n, 3), np.float32))
    late = np.array(more.get("late", [False] * n), bool)
    amounts = np.array([100] * n if amounts is None else amounts, np.int64)
    return decide_rows(of, scored_rows(margin, codes, of.rules, more.get("top")), x, amounts, late, FLAGS, more.get("limit", 0))


MARGINS = st.one_of(st.floats(-30, 30, width=32), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e30]))
DEMANDS = st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0, 1))
ROWS = st.integers(0, 70).flatmap(
    lambda rules: st.tuples(
        st.lists(DEMANDS, min_size=rules, max_size=rules),
        st.lists(
            st.tuples(
                MARGINS,
                st.integers(0, 10**12),
                st.booleans(),
                st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), min_size=rules, max_size=rules),
            ),
            max_size=12,
        ),
    )
)


@examples(120)
@given(
    rows=ROWS,
    slope=st.floats(0.01, 10),
    intercept=st.floats(-5, 5),
    limit=st.sampled_from([0, 500, 10**12]),
    has_model=st.booleans(),
)
def test_compiled_equals_the_reference(rows, slope, intercept, limit, has_model):
    demands, given_rows = rows
    of = table(demands, slope=slope, intercept=intercept, has_model=has_model)
    margin, amounts, late, codes = (list(part) for part in zip(*given_rows, strict=True)) if given_rows else ([], [], [], [])
    found = decide(of, margin, codes, amounts, late=late, limit=limit)
    code_rows = np.array(codes, np.uint8).reshape(len(margin), len(demands))
    expected = reference.decide_rows(
        of, np.array(margin, np.float32), code_rows, np.array(amounts, np.int64), np.array(late, bool), FLAGS, limit
    )
    names = ("probability", "risk", "score", "stamps", "outcome", "cost_outcome")
    for name, truth in zip(names, expected, strict=True):
        np.testing.assert_array_equal(getattr(found, name), truth, name)
        assert getattr(found, name).dtype == truth.dtype
    np.testing.assert_array_equal(found.rule_codes, code_rows)


@examples(60)
@given(p=st.floats(1e-6, 1 - 1e-6), amount=st.integers(1, 10**9))
def test_the_cheapest_outcome_is_the_policy_s(p, amount):
    margin = float(np.float32(math.log(p / (1 - p))))
    found = decide(table(), [margin], amounts=[amount])
    assert found.probability[0] == pytest.approx(Calibration.identity().probability(np.array([margin]))[0], rel=1e-14)
    costs = POLICY.expected_costs(found.probability, np.array([amount]))[0]
    assert costs[found.outcome[0]] == pytest.approx(costs.min(), rel=1e-12)


def test_without_a_probability_a_person_looks_unless_the_amount_is_small():
    found = decide(table(), [math.nan] * 3, amounts=[100, 500, 501], limit=500)
    assert found.outcome.tolist() == [APPROVE, APPROVE, REVIEW]
    assert found.stamps.tolist() == [FLAGS.always | FLAGS.missing] * 3 and found.risk.tolist() == [0, 0, 0]
    assert decide(table(), [math.nan], amounts=[100], limit=0).outcome.tolist() == [REVIEW]
    assert decide(table(has_model=False), [math.nan], amounts=[100], limit=500).outcome.tolist() == [REVIEW]


def test_rules_ask_for_more_and_their_weights_join():
    of = table([(STEP_UP, APPROVE, 0.5), (DECLINE, REVIEW, 0.2)])
    found = decide(of, [-20.0] * 5, [[HIT, 0], [HIT, HIT], [0, ERROR], [ERROR, 0], [INSUFFICIENT, 0]])
    assert found.outcome.tolist() == [STEP_UP, DECLINE, REVIEW, APPROVE, APPROVE]
    assert found.cost_outcome.tolist() == [APPROVE] * 5
    np.testing.assert_allclose(found.risk, [0.5, 0.9, 0, 0, 0], atol=1e-8)
    assert found.score.tolist() == [500, 900, 0, 0, 0]
    assert (found.stamps & FLAGS.error > 0).tolist() == [False, False, True, True, False]


def test_late_rows_say_so():
    assert (decide(table(), [0.0, 0.0], late=[True, False]).stamps & FLAGS.late > 0).tolist() == [True, False]


def test_the_values_of_the_largest_contributions_are_looked_up():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = decide(table(), [0.0, 0.0], x=x, top=np.array([[2, 0], [1, -1]], np.int32))
    assert found.safe_features.tolist() == [[2, 0], [1, 0]] and found.top_values.tolist() == [[2, 0], [4, 3]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.zeros((2, 3), np.float64)}, "x must be float32"),
        ({"x": np.zeros((1, 3), np.float32)}, "x must be float32"),
        ({"amount_minor": np.zeros(2, np.int32)}, "amount_minor must be int64"),
        ({"late": np.zeros(2, np.int64)}, "late must be uint8"),
        ({"table": table([(0, 0, 1.0)])}, "1 rules are expected"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    fitting = {"table": table(), "scored": scored_rows([0.0, 0.0], [], 0), "x": np.zeros((2, 3), np.float32)}
    fitting |= {"amount_minor": np.zeros(2, np.int64), "late": np.zeros(2, bool), "flags": FLAGS}
    with pytest.raises(KernelInputError, match=message):
        decide_rows(**(fitting | changed))


def test_a_table_of_other_arrays_is_refused():
    with pytest.raises(KernelInputError, match="on_hit must be uint8"):
        DecideTable(1.0, 0.0, Costs(*[0.0] * 11), np.zeros(1, np.int64), np.zeros(1, np.uint8), np.ones(1), True)


def test_without_compiled_kernels_the_reference_decides():
    script = (
        "import tests.kernels.test_decide_rows as t; from kernels.native import library; assert library() is None; "
        "t.test_rules_ask_for_more_and_their_weights_join(); t.test_the_values_of_the_largest_contributions_are_looked_up(); "
        "t.test_without_a_probability_a_person_looks_unless_the_amount_is_small(); t.test_late_rows_say_so()"
    )
    import os

    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"RISKAPP_KERNELS": "reference"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
