"""Which decisions have matured, and what their truth is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scoring.selectors.accuracy import accuracy
from scoring.selectors.matured import matured_decisions
from tests.factories import NOON, make_decision, make_label

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

WEEK = timedelta(days=7)


def advance_clock(to=NOON + 2 * WEEK) -> None:
    """The event clock is the newest payment of the ledger."""
    make_decision(transaction_id="the-clock", occurred_at=to)


def truth_of(decision) -> bool | None:
    """Whether the one matured decision counts as fraud; None where it is left out."""
    advance_clock()
    matured = matured_decisions()
    return bool(matured.is_fraud[0]) if matured.is_fraud.size else None


def test_none_while_the_ledger_is_empty():
    assert matured_decisions() is None and accuracy() is None


def test_none_while_nothing_has_matured():
    make_decision(occurred_at=NOON)
    make_decision(occurred_at=NOON + WEEK - timedelta(seconds=1))
    assert matured_decisions() is None


def test_maturity_goes_by_the_event_clock_and_includes_its_edge(settings):
    make_decision(occurred_at=NOON)
    make_decision(occurred_at=NOON + timedelta(seconds=1))
    make_decision(occurred_at=NOON + WEEK)
    assert matured_decisions().is_fraud.size == 1
    settings.LABEL_MATURITY_DAYS = 6.9
    assert matured_decisions().is_fraud.size == 2


def test_without_a_label_a_matured_payment_is_good():
    assert truth_of(make_decision()) is False


@pytest.mark.parametrize(("kind", "truth"), [("fraud", True), ("chargeback", True), ("legitimate", False), ("dispute", None)])
def test_each_kind_of_label(kind, truth):
    decision = make_decision()
    make_label(decision, kind)
    assert truth_of(decision) is truth


@pytest.mark.parametrize(
    ("reports", "truth"),
    [
        ([("fraud", 2), ("legitimate", 3)], False),
        ([("legitimate", 3), ("fraud", 2)], False),
        ([("dispute", 1), ("chargeback", 5)], True),
        ([("legitimate", 4), ("fraud", 4)], True),
    ],
)
def test_the_latest_report_wins_in_whatever_order_they_came(reports, truth):
    decision = make_decision()
    for kind, day in reports:
        make_label(decision, kind, reported_at=NOON + timedelta(days=day))
    assert truth_of(decision) is truth


def test_the_newest_are_taken_where_there_are_too_many():
    for day in range(5):
        make_decision(occurred_at=NOON + timedelta(days=day), score=day)
    advance_clock()
    matured = matured_decisions(limit=3)
    assert matured.rank.astype(int).tolist() == [4, 3, 2]
    assert matured.is_truncated and matured.since == NOON + timedelta(days=2)
    assert matured_decisions(limit=5).is_truncated is False


def test_what_rules_decided_before_there_was_a_model_is_left_out_and_counted():
    make_decision(mode="rules_only", probability=None, occurred_at=NOON - timedelta(days=30))
    advance_clock()
    assert matured_decisions() is None
    make_decision()
    make_decision(mode="model_failed", probability=None)
    matured = matured_decisions()
    assert (matured.is_fraud.size, matured.without_model) == (2, 1)
    assert matured.since == NOON


def test_scores_rank_and_probabilities_break_their_ties():
    for score, probability in ((10, 0.0104), (10, 0.0096), (11, None), (10, None)):
        make_decision(score=score, probability=probability)
    advance_clock()
    # Newest first.
    assert matured_decisions().rank.argsort().tolist() == [0, 2, 3, 1]
