"""What silence about a payment means."""

from __future__ import annotations

import pytest

from scoring.models import BACKFILL, Outcome
from scoring.truth import FRAUD, GOOD, UNSETTLED, truth_of


@pytest.mark.parametrize(
    ("label", "outcome", "mode", "truth"),
    [
        ("fraud", Outcome.APPROVE, "normal", FRAUD),
        ("chargeback", Outcome.DECLINE, "normal", FRAUD),
        ("legitimate", Outcome.DECLINE, "normal", GOOD),
        ("dispute", Outcome.APPROVE, "normal", UNSETTLED),
        (None, Outcome.APPROVE, "normal", GOOD),
        (None, Outcome.REVIEW, "normal", GOOD),
        (None, Outcome.HOLD, "normal", UNSETTLED),
        (None, Outcome.DECLINE, "late_event", UNSETTLED),
        (None, Outcome.DECLINE, BACKFILL, GOOD),
    ],
)
def test_a_stopped_payment_without_a_verdict_teaches_nothing(label, outcome, mode, truth):
    assert truth_of(label, outcome, mode) == truth
