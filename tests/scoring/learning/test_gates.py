"""A worse challenger is refused and a better one promoted, with figures and reasons that say why."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scoring.engine import CostPolicy, default_policy
from scoring.learning.gates import PROMOTE, REFUSE, GatePolicy, GateRows, Scores, judge

POLICY = GatePolicy(resamples=100)


def gate_rows(n: int = 4000, seed: int = 0) -> GateRows:
    generator = np.random.default_rng(seed)
    label = (generator.random(n) < 0.03).astype(np.int8)
    return GateRows(label, generator.integers(1_000, 200_000, n), np.full(n, "EUR"))


def model(rows: GateRows, skill: float, seed: int = 1, shift: float = 0.0) -> Scores:
    """Scores whose two classes are `skill` standard deviations apart, exactly calibrated when shift is 0."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=len(rows.label)) + skill * rows.label
    rate = 0.03
    margin = skill * x - skill**2 / 2 + np.log(rate / (1 - rate)) + shift
    return Scores(margin.astype(np.float32), 1 / (1 + np.exp(-margin)))


def failed(verdict) -> set[str]:
    return {check["name"] for check in verdict.figures["checks"] if not check["passed"]}


def test_a_better_challenger_is_promoted():
    rows = gate_rows()
    verdict = judge(rows, model(rows, skill=3.0), model(rows, skill=2.0), default_policy(), POLICY)
    assert verdict.decision == PROMOTE, verdict.reason
    assert verdict.figures["ap_difference"]["low"] > 0
    assert verdict.figures["money"]["challenger_minor"] < verdict.figures["money"]["champion_minor"]


def test_a_worse_challenger_is_refused_and_told_why():
    rows = gate_rows()
    verdict = judge(rows, model(rows, skill=2.0), model(rows, skill=3.0), default_policy(), POLICY)
    assert verdict.decision == REFUSE
    assert {"average_precision", "recall", "cost", "gain"} <= failed(verdict)
    assert "AP 0." in verdict.reason and "against" in verdict.reason


def test_a_copy_of_the_champion_is_refused_as_it_gains_nothing():
    rows = gate_rows()
    scores = model(rows, skill=2.0)
    verdict = judge(rows, scores, scores, default_policy(), POLICY)
    assert failed(verdict) == {"gain"}


def test_a_challenger_that_ranks_alike_but_lost_its_calibration_is_refused():
    rows = gate_rows()
    verdict = judge(rows, model(rows, skill=2.0, shift=2.5), model(rows, skill=2.0), default_policy(), POLICY)
    assert verdict.decision == REFUSE
    assert {"calibration", "brier"} <= failed(verdict)


def test_a_first_model_must_beat_a_random_ranking():
    rows = gate_rows()
    assert judge(rows, model(rows, skill=2.0), None, default_policy(), POLICY).decision == PROMOTE
    verdict = judge(rows, model(rows, skill=0.0), None, default_policy(), POLICY)
    assert verdict.decision == REFUSE
    assert "average_precision" in failed(verdict)


def test_a_first_model_is_held_back_by_its_calibration_only_when_it_is_plainly_wrong():
    rows = gate_rows()
    assert judge(rows, model(rows, skill=2.5, shift=1.1), None, default_policy(), POLICY).decision == PROMOTE
    assert "calibration" in failed(judge(rows, model(rows, skill=2.5, shift=5.0), None, default_policy(), POLICY))


def test_money_is_the_cost_of_what_would_have_been_decided():
    rows = GateRows(np.array([1, 0], np.int8), np.array([10_000, 10_000]), np.array(["EUR", "EUR"]))
    costs = CostPolicy(good_margin=0.0, declined_good_cost_minor=500, fraud_cost_minor=0)
    certain = Scores(np.array([9.0, -9.0], np.float32), np.array([1.0, 0.0]))
    reversed_ = Scores(np.array([-9.0, 9.0], np.float32), np.array([0.0, 1.0]))
    money = judge(rows, certain, reversed_, costs, POLICY).figures["money"]
    assert money["challenger_minor"] == 0.0  # fraud declined, good approved
    assert money["champion_minor"] == (10_000 + 500) / 2  # fraud paid out, good declined
    assert money["approve_all_minor"] == 5_000


def test_amounts_of_two_currencies_are_not_added_up():
    rows = gate_rows()
    currency = np.where(np.arange(len(rows.label)) % 3 == 0, "JPY", "EUR")
    mixed = replace(rows, currency=currency, amount_minor=np.where(currency == "JPY", 10**9, rows.amount_minor))
    money = judge(mixed, model(rows, 3.0), model(rows, 2.0), default_policy(), POLICY).figures["money"]
    assert money["currency"] == "EUR"
    assert money["rows"] == (currency == "EUR").sum()
    assert money["approve_all_minor"] < 200_000


def test_figures_can_be_stored_as_json_and_hold_counts():
    rows = gate_rows()
    figures = judge(rows, model(rows, 3.0), model(rows, 2.0), default_policy(), POLICY).figures
    stored = json.loads(json.dumps(figures, allow_nan=False))
    assert stored["rows"] == 4000
    assert stored["frauds"] == int(rows.label.sum())
    assert stored["challenger"]["ap"]["low"] < stored["challenger"]["ap"]["estimate"]


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_the_ap_margin_decides_how_far_the_interval_may_reach(margin):
    rows = gate_rows()
    slightly_worse, champion = model(rows, skill=2.0, seed=1), model(rows, skill=2.05, seed=1)
    verdict = judge(rows, slightly_worse, champion, default_policy(), replace(POLICY, ap_margin=margin))
    assert ("average_precision" in failed(verdict)) == (margin == 0.0)
