"""An analyst works an alert: claim, release, close with a disposition."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone

from scoring.errors import AlertAlreadyClosed, AlertNotFound, ScoringError
from scoring.models import Alert, AuditEntry, Label, LabelKind, LabelSource
from scoring.selectors.clock import event_clock
from scoring.services.record_labels import record_labels

NOTE_MAX_LENGTH = 2000
# An inconclusive review says nothing about the truth, and writes no label.
_LABELS = {
    Alert.Disposition.CONFIRMED_FRAUD: LabelKind.FRAUD,
    Alert.Disposition.FALSE_POSITIVE: LabelKind.LEGITIMATE,
}


class AlertClaimedByAnother(ScoringError):
    """Another analyst works on the alert."""

    code = "alert_claimed_by_another"
    status = 409


class AlertNotClaimed(ScoringError):
    """Only a claimed alert can be released."""

    code = "alert_not_claimed"
    status = 409


class DispositionInvalid(ScoringError):
    """Not one of the dispositions."""

    code = "disposition_invalid"
    status = 422


class LabelRefused(ScoringError):
    """The label that the disposition stands for was not accepted; the alert stays as it was."""

    code = "label_refused"
    status = 409


@transaction.atomic
def claim_alert(alert_id: int, analyst: AbstractBaseUser) -> Alert:
    """Make `analyst` the one who works on the alert; claiming one's own again changes nothing.

    Raises:
        AlertNotFound, AlertAlreadyClosed, AlertClaimedByAnother.
    """
    alert = _locked(alert_id)
    _refuse_if_of_another(alert, analyst)
    if alert.assignee_id == analyst.pk:
        return alert
    alert.state, alert.assignee = Alert.State.CLAIMED, analyst
    alert.save(update_fields=["state", "assignee"])
    _audit("alert.claim", alert, analyst)
    return alert


@transaction.atomic
def release_alert(alert_id: int, analyst: AbstractBaseUser) -> Alert:
    """Put a claimed alert back into the queue; a superuser may release another's.

    Raises:
        AlertNotFound, AlertAlreadyClosed, AlertClaimedByAnother, AlertNotClaimed.
    """
    alert = _locked(alert_id)
    if alert.state != Alert.State.CLAIMED:
        raise AlertNotClaimed("nobody has claimed this alert")
    if not analyst.is_superuser:
        _refuse_if_of_another(alert, analyst)
    claimed_by = alert.assignee.get_username() if alert.assignee else ""
    alert.state, alert.assignee = Alert.State.OPEN, None
    alert.save(update_fields=["state", "assignee"])
    _audit("alert.release", alert, analyst, claimed_by=claimed_by)
    return alert


@transaction.atomic
def close_alert(alert_id: int, analyst: AbstractBaseUser, disposition: str, note: str = "") -> Alert:
    """Close an alert that is open or the analyst's own, and record what it means as a label, all or nothing.

    Raises:
        AlertNotFound, AlertAlreadyClosed, AlertClaimedByAnother, DispositionInvalid, LabelRefused.
    """
    if disposition not in Alert.Disposition.values:
        raise DispositionInvalid(f"disposition must be one of {', '.join(Alert.Disposition.values)}")
    alert = _locked(alert_id)
    _refuse_if_of_another(alert, analyst)
    alert.state, alert.assignee = Alert.State.CLOSED, analyst
    alert.disposition, alert.note = disposition, note[:NOTE_MAX_LENGTH]
    alert.closed_at = timezone.now()
    alert.save(update_fields=["state", "assignee", "disposition", "note", "closed_at"])
    label_id = _record_label(alert, analyst)
    _audit("alert.close", alert, analyst, disposition=disposition, label_id=label_id)
    return alert


def _locked(alert_id: int) -> Alert:
    """Hold the row to the end of the transaction, so that of two analysts one is told no."""
    # Of several joined tables only the alert is locked: the ledger is never blocked by a review.
    query = Alert.objects.select_for_update(of=("self",)).select_related("decision", "assignee")
    alert = query.filter(pk=alert_id).first()
    if alert is None:
        raise AlertNotFound(f"there is no alert {alert_id}")
    if alert.state == Alert.State.CLOSED:
        raise AlertAlreadyClosed("this alert is closed already; its disposition stands")
    return alert


def _refuse_if_of_another(alert: Alert, analyst: AbstractBaseUser) -> None:
    if alert.assignee_id is not None and alert.assignee_id != analyst.pk:
        raise AlertClaimedByAnother(f"{alert.assignee.get_username()} is working on this alert")


def _record_label(alert: Alert, analyst: AbstractBaseUser) -> str | None:
    """Return the id of the label that was written, None where the disposition stands for none."""
    kind = _LABELS.get(Alert.Disposition(alert.disposition))
    if kind is None:
        return None
    label = {
        # Not to be guessed: a client that used it first would keep the verdict out.
        "label_id": f"alert-{alert.pk}-{secrets.token_hex(8)}",
        "decision_id": alert.decision.decision_id,
        "label": kind.value,
        "source": LabelSource.ANALYST.value,
        "occurred_at": alert.decision.occurred_at.isoformat(),
        "reported_at": _reported_at(alert).isoformat(),
    }
    (result,) = record_labels([label], actor=_actor(analyst))
    if "error" in result:
        raise LabelRefused(f"the label was refused: {result['error']['detail']}")
    return result["label_id"]


def _reported_at(alert: Alert) -> datetime:
    """Return the event time of the verdict: now by the event clock, and after every verdict known so far.

    The wall clock would be wrong for a replayed stream: its years-old or future times decide which label is the latest.
    """
    times = [event_clock() or alert.decision.occurred_at]
    newest = Label.objects.filter(decision=alert.decision).order_by("-reported_at").first()
    if newest is not None:
        times.append(newest.reported_at + timedelta(microseconds=1))
    return max(times)


def _actor(analyst: AbstractBaseUser) -> str:
    # A user name may be longer than what the trail keeps of it.
    return analyst.get_username()[:80]


def _audit(action: str, alert: Alert, analyst: AbstractBaseUser, **details: str | None) -> None:
    AuditEntry.objects.create(
        actor=_actor(analyst), action=action, subject=alert.decision.decision_id,
        details={"alert": alert.pk, **details},
    )  # fmt: skip
