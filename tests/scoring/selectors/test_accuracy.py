"""Matured truth, precision, recall, AP, slices and money against numbers worked out by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from scoring.models import Outcome
from scoring.selectors.accuracy import MAX_SLICES, MIN_SLICE_FRAUDS, accuracy, accuracy_of
from scoring.selectors.matured import matured_decisions
from tests.factories import NOON, make_decision, make_label, seed_dashboard

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

WEEK = timedelta(days=7)


def advance_clock(to=NOON + 2 * WEEK) -> None:
    """The event clock is the newest payment of the ledger."""
    make_decision(transaction_id="the-clock", occurred_at=to)


def test_figures_by_hand():
    """Ranked: fraud declined, good reviewed, fraud stepped up, good approved; one dispute."""
    for outcome, score, kind in (
        (4, 900, "fraud"),
        (2, 800, None),
        (1, 700, "chargeback"),
        (0, 10, "legitimate"),
        (4, 950, "dispute"),
    ):
        decision = make_decision(outcome=outcome, score=score)
        if kind:
            make_label(decision, kind)
    advance_clock()
    found = accuracy()
    assert (found.decisions, found.unsettled) == (4, 1)
    assert (found.precision.hits, found.precision.total) == (1, 2)
    assert (found.recall.hits, found.recall.total) == (1, 2)
    assert (found.false_positive_rate.hits, found.false_positive_rate.total) == (1, 2)
    assert found.fraud_rate.interval.value == 0.5
    assert found.average_precision.value == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert (found.since, found.until) == (NOON, NOON + WEEK)


def test_without_a_fraud_there_is_no_recall_and_no_ap():
    make_decision()
    advance_clock()
    found = accuracy()
    assert found.recall.interval is None and found.average_precision is None


def recall_on(found, day: int) -> float:
    """The recall of the slice that holds noon of the day."""
    at, width = NOON + timedelta(days=day), timedelta(seconds=found.slice_seconds)
    (recall,) = [s.recall for s in found.slices if s.start <= at < s.start + width]
    return recall


def test_slices_follow_event_time():
    for day in range(20):
        # Six frauds a day; on the five days of a wave one of them is caught, else all are.
        caught = 1 if 10 <= day < 15 else 6
        for i in range(8):
            outcome = Outcome.DECLINE if i < caught else Outcome.APPROVE
            decision = make_decision(
                occurred_at=NOON + timedelta(days=day, minutes=i), outcome=outcome, score=900 if i < caught else 100
            )
            if i < 6:
                make_label(decision)
    advance_clock(NOON + timedelta(days=30))
    found = accuracy()
    assert len(found.slices) <= MAX_SLICES
    assert sum(s.decisions for s in found.slices) == 160 and sum(s.frauds for s in found.slices) == 120
    assert recall_on(found, day=5) == recall_on(found, day=18) == 1.0
    assert recall_on(found, day=12) == pytest.approx(1 / 6)
    assert all(s.average_precision is not None for s in found.slices)


def test_a_slice_of_few_frauds_has_counts_and_no_figures():
    for i in range(MIN_SLICE_FRAUDS - 1):
        make_label(make_decision(occurred_at=NOON + timedelta(minutes=i), outcome=4))
    advance_clock()
    (only,) = accuracy().slices
    assert (only.frauds, only.flagged, only.caught) == (4, 4, 4)
    assert only.precision is None and only.recall is None and only.average_precision is None


def test_a_second_look_comes_from_the_cache(django_assert_num_queries):
    seed_dashboard(timezone.now(), decisions=50)
    with django_assert_num_queries(3):
        first = accuracy()
        assert accuracy() is first or accuracy() == first


def test_none_yet_is_cached_as_well(django_assert_num_queries):
    with django_assert_num_queries(1):
        assert accuracy() is None and accuracy() is None


def test_figures_of_a_demo_are_in_range():
    seed_dashboard(timezone.now(), decisions=800)
    found = accuracy_of(matured_decisions())
    assert 0.3 < found.average_precision.value < 1
    assert found.average_precision.low < found.average_precision.value < found.average_precision.high
