"""Money saved, by hand and by currency."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scoring.engine import CostPolicy
from scoring.models import Outcome
from scoring.selectors.matured import matured_decisions
from scoring.selectors.savings import savings_of
from tests.factories import NOON, make_decision, make_label

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


def test_savings_by_hand_and_by_currency():
    policy = CostPolicy(good_margin=0.02, declined_good_cost_minor=2500, hold_friction_minor=800, review_cost_minor=600)
    for amount, currency, outcome, is_fraud in (
        (50_000, "EUR", Outcome.DECLINE, True),
        (30_000, "EUR", Outcome.HOLD, True),
        (9_000, "EUR", Outcome.REVIEW, True),
        (7_000, "EUR", Outcome.APPROVE, True),
        (10_000, "EUR", Outcome.DECLINE, False),
        (20_000, "EUR", Outcome.HOLD, False),
        (1_000, "EUR", Outcome.APPROVE, False),
        (4_000, "GBP", Outcome.DECLINE, False),
    ):
        decision = make_decision(amount_minor=amount, currency=currency, outcome=outcome)
        make_label(decision, "fraud" if is_fraud else "legitimate")
    # The newest payment is the event clock.
    make_decision(occurred_at=NOON + timedelta(days=14))
    euro, pound = savings_of(matured_decisions(), policy)
    assert (euro.currency, pound.currency) == ("EUR", "GBP")
    assert (euro.stopped_minor, euro.frauds_stopped) == (80_000, 2)
    assert (euro.missed_minor, euro.frauds_missed) == (16_000, 2)
    assert euro.good_cost_minor == 200 + 2_500 + 800
    assert (euro.reviews, euro.review_cost_minor) == (3, 1_800)
    assert euro.saved_minor == 80_000 - 3_500 - 1_800
    assert pound.saved_minor == -(80 + 2_500)
