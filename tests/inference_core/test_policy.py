"""Outcomes from expected costs."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core import CostPolicy, Outcome, default_policy

_share = st.floats(0, 1)
_minor = st.integers(0, 10_000)
policies = st.builds(
    CostPolicy,
    loss_given_fraud=_share,
    good_margin=_share,
    declined_good_cost_minor=_minor,
    review_cost_minor=_minor,
    review_recovery=_share,
    hold_catch=_share,
    hold_friction_minor=_minor,
    fraud_cost_minor=_minor,
    step_up_cost_minor=_minor,
    step_up_catch=_share,
    step_up_abandon=_share,
)
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=10)
amounts = st.integers(0, 10**12)


def plain_costs(of: CostPolicy, p: float, amount: int) -> list[float]:
    """Return the expected cost of each outcome, in words of the business."""
    fraud_loss = p * (amount * of.loss_given_fraud + of.fraud_cost_minor)
    lost_customer = (1 - p) * (amount * of.good_margin + of.declined_good_cost_minor)
    return [
        fraud_loss,
        of.step_up_cost_minor + (1 - of.step_up_catch) * fraud_loss + of.step_up_abandon * lost_customer,
        of.review_cost_minor + (1 - of.review_recovery) * fraud_loss,
        of.review_cost_minor + (1 - of.hold_catch) * fraud_loss + (1 - p) * of.hold_friction_minor,
        lost_customer,
    ]


@given(policies, probabilities, amounts)
def test_the_outcome_is_the_cheapest_by_brute_force(policy, p, amount):
    chosen = policy.outcomes(np.array(p), np.full(len(p), amount))
    for probability, code in zip(p, chosen, strict=True):
        costs = plain_costs(policy, probability, amount)
        assert costs[code] <= min(costs) * (1 + 1e-9) + 1e-6


@given(policies, amounts)
def test_only_a_probability_approves(policy, amount):
    assert policy.outcomes(np.array([math.nan]), np.array([amount])).tolist() == [Outcome.REVIEW]


@given(amounts)
def test_of_equal_costs_the_mildest_outcome_is_chosen(amount):
    free = CostPolicy(**dict.fromkeys(asdict(CostPolicy()), 0))
    assert free.outcomes(np.array([0.5]), np.array([amount])).tolist() == [Outcome.APPROVE]


@pytest.mark.parametrize("amount", [1, 500, 5_000, 50_000, 1_000_000, 10**12])
def test_more_suspicion_is_never_treated_milder_at_the_ends(amount):
    """Certainly good is approved; certainly fraud is stopped as soon as a stop costs less than the payment."""
    policy = default_policy()
    good, bad = policy.outcomes(np.array([0.0, 1.0]), np.array([amount, amount]))
    assert good == Outcome.APPROVE
    assert bad == Outcome.DECLINE


@pytest.mark.parametrize("amount", [1_000, 20_000, 100_000, 10_000_000])
def test_default_policy_grows_stricter_with_the_probability(amount):
    p = np.linspace(0, 1, 2_001)
    outcomes = default_policy().outcomes(p, np.full(len(p), amount)).astype(int)
    # Review pays out and hold does not, so that a payment may pass from hold to decline but never back to a milder one.
    assert (np.diff(outcomes) >= 0).all()


def test_default_policy_has_a_use_for_the_milder_and_the_harder_outcomes():
    """Review is left to the rules and to missing probabilities: at these costs a step-up or a hold is always cheaper."""
    p = np.linspace(0, 1, 501)
    seen = {
        int(code)
        for amount in (100, 1_000, 10_000, 100_000, 10**7)
        for code in default_policy().outcomes(p, np.full(len(p), amount))
    }
    assert {Outcome.APPROVE, Outcome.STEP_UP, Outcome.HOLD, Outcome.DECLINE} <= seen


def test_larger_amounts_are_watched_more_closely():
    small, large = default_policy().outcomes(np.array([0.02, 0.02]), np.array([1_000, 1_000_000]))
    assert small == Outcome.APPROVE and large > Outcome.APPROVE


@pytest.mark.parametrize("name", sorted(asdict(CostPolicy())))
@pytest.mark.parametrize("value", [-0.01, math.nan])
def test_a_cost_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        replace(CostPolicy(), **{name: value})


@pytest.mark.parametrize("name", [name for name in sorted(asdict(CostPolicy())) if not name.endswith("_minor")])
def test_a_share_above_one_is_refused(name):
    with pytest.raises(ValueError, match=name):
        replace(CostPolicy(), **{name: 1.01})


def test_a_policy_survives_json():
    policy = CostPolicy(review_cost_minor=900)
    assert CostPolicy(**policy.to_json()) == policy
