"""Outcome and risk from the program's result."""

from __future__ import annotations

import numpy as np
import pytest

from scoring.decisions.score_batch import score_batch
from scoring.engine import CostPolicy, Outcome, Rule, RuleOutcome
from scoring.features.columns import TransactionColumns
from scoring.features.state import FeatureState
from scoring.transactions import parse_stored
from tests.scoring.decisions.programs import risk_program

PAYMENT = (
    b'{"transaction_id":"t1","occurred_at":"2026-01-05T10:00:00Z","amount_minor":%d,"currency":"EUR",'
    b'"type":"card_payment","channel":"pos","card_id":"k1"}'
)
HIT = {"op": "ge", "args": [{"feature": "amount_minor"}, {"number": 0}]}
NO_HIT = {"op": "not", "args": [HIT]}
ERROR = {"op": "gt", "args": [{"op": "divide", "args": [{"number": 1}, {"feature": "type.transfer"}]}, {"number": 0}]}
# Every outcome costs nothing: the costs alone approve whatever has a probability.
FREE = CostPolicy(**dict.fromkeys(CostPolicy().to_json(), 0))


def rule(name: str, when: dict, outcome: Outcome, weight: float = 0.5, requires: dict | None = None) -> Rule:
    return Rule(name, 1, when, requires, outcome, weight, "because", "test")


def columns(state: FeatureState, amount: int = 100, n: int = 1) -> TransactionColumns:
    return state.tokens.columns([parse_stored(PAYMENT % amount)] * n, range(n), remember=True)


def score(
    *rules: Rule, forest: bool = True, policy: CostPolicy = FREE, amount: int = 100, members: np.ndarray | None = None, lists=()
):
    state = FeatureState(7)
    program = risk_program(rules=tuple(rules), forest=forest, policy=policy, list_names=tuple(lists))
    return score_batch(state, program, columns(state, amount), members)


def test_costs_alone_decide_where_no_rule_hits():
    scored = score(rule("r", NO_HIT, Outcome.DECLINE))
    assert scored.decided.outcome.tolist() == scored.decided.cost_outcome.tolist() == [Outcome.APPROVE]
    assert scored.decided.risk[0] == pytest.approx(scored.decided.probability[0])


@pytest.mark.parametrize("demand", list(Outcome))
def test_a_rule_makes_the_outcome_stricter(demand):
    assert score(rule("r", HIT, demand)).decided.outcome.tolist() == [demand]


def test_the_strictest_of_several_rules_wins():
    hits = [
        rule("a", HIT, Outcome.STEP_UP),
        rule("b", HIT, Outcome.HOLD),
        rule("c", HIT, Outcome.REVIEW),
        rule("d", NO_HIT, Outcome.DECLINE),
    ]
    for order in (hits, hits[::-1]):
        assert score(*order).decided.outcome.tolist() == [Outcome.HOLD]


def test_a_rule_never_makes_the_outcome_milder():
    strict = CostPolicy(declined_good_cost_minor=0, good_margin=0)
    assert score(policy=strict, amount=10**9).decided.outcome.tolist() == [Outcome.DECLINE]
    assert score(rule("r", HIT, Outcome.STEP_UP), policy=strict, amount=10**9).decided.outcome.tolist() == [Outcome.DECLINE]


def test_weights_join_the_probability_as_independent_evidence():
    one, two = rule("a", HIT, Outcome.APPROVE, 0.5), rule("b", HIT, Outcome.APPROVE, 0.2)
    p = score().decided.probability[0]
    assert score(one).decided.risk[0] == pytest.approx(1 - (1 - p) * 0.5)
    assert score(one, two).decided.risk[0] == pytest.approx(1 - (1 - p) * 0.5 * 0.8)
    assert score(one, rule("c", NO_HIT, Outcome.APPROVE, 0.9)).decided.risk[0] == pytest.approx(1 - (1 - p) * 0.5)


def test_without_a_probability_nothing_is_approved():
    scored = score(forest=False)
    assert scored.decided.outcome.tolist() == [Outcome.REVIEW] and scored.decided.risk.tolist() == [0]
    assert score(rule("r", HIT, Outcome.DECLINE, 0.9), forest=False).decided.outcome.tolist() == [Outcome.DECLINE]
    assert score(rule("r", HIT, Outcome.APPROVE, 0.9), forest=False).decided.risk[0] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        (Outcome.STEP_UP, Outcome.APPROVE),
        (Outcome.REVIEW, Outcome.APPROVE),
        (Outcome.HOLD, Outcome.REVIEW),
        (Outcome.DECLINE, Outcome.REVIEW),
    ],
)
def test_an_error_of_a_rule_that_could_have_stopped_the_payment_asks_for_a_person(demand, expected):
    scored = score(rule("r", ERROR, demand, 0.9))
    assert scored.decided.rule_codes.tolist() == [[RuleOutcome.ERROR]]
    assert scored.decided.outcome.tolist() == [expected]
    assert scored.decided.risk[0] == pytest.approx(scored.decided.probability[0]), "an error is no evidence of fraud"


def test_a_rule_without_enough_history_demands_nothing():
    assert score(rule("r", HIT, Outcome.DECLINE, 0.9, requires=NO_HIT)).decided.outcome.tolist() == [Outcome.APPROVE]


def test_lists():
    on_list = rule("r", {"in_list": "blocked"}, Outcome.DECLINE)
    assert score(on_list, lists=["blocked"]).decided.outcome.tolist() == [Outcome.APPROVE]
    assert score(on_list, lists=["blocked"], members=np.array([[True]])).decided.outcome.tolist() == [Outcome.DECLINE]


def test_no_rules_and_no_rows():
    state = FeatureState(7)
    scored = score_batch(state, risk_program(rules=()), state.tokens.columns([], [], remember=True))
    assert scored.decided.outcome.shape == scored.decided.risk.shape == (0,)


def test_a_batch_is_the_unit_and_shares_its_times():
    state = FeatureState(7)
    scored = score_batch(state, risk_program(), columns(state, n=50))
    assert scored.features_us >= 0 and scored.program_us >= 0 and len(scored.decided.outcome) == 50
