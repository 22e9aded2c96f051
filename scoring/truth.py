"""What a decision turned out to be: the one reading of labels that training, accuracy and features share."""

from __future__ import annotations

from scoring.models import BACKFILL, LabelKind, Outcome

FRAUD, GOOD, UNSETTLED = 1, 0, -1
FRAUD_KINDS = (LabelKind.FRAUD, LabelKind.CHARGEBACK)
_TRUTH = {
    LabelKind.FRAUD.value: FRAUD,
    LabelKind.CHARGEBACK.value: FRAUD,
    LabelKind.LEGITIMATE.value: GOOD,
    LabelKind.DISPUTE.value: UNSETTLED,
}


def truth_of(label: str | None, outcome: int, mode: str) -> int:
    """Return FRAUD, GOOD or UNSETTLED for a matured decision.

    Args:
        label: the kind of its label with the latest `reported_at`; None where it has none.
        outcome: Outcome code. A payment that was held or declined never earns a chargeback, so that silence says nothing
            about it: counted as good, it would teach the model to let through what it stops.
        mode: the decision's mode; backfilled history was not acted on, so silence does say something there.
    """
    if label is not None:
        return _TRUTH[label]
    return UNSETTLED if outcome >= Outcome.HOLD and mode != BACKFILL else GOOD
