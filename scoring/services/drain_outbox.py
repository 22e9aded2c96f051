"""Carrying out what decisions have left in the outbox, each effect once however often and wherever this runs.

The effect and the removal of its event are one database transaction, so a crash in between leaves both or neither. An
event that cannot be carried out stays, with its number of attempts and the last error, and never holds up the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import F, QuerySet

from scoring.models import Alert, Decision, OutboxEvent

logger = logging.getLogger(__name__)

ALERT_RAISE = "alert.raise"
CHUNK_EVENTS = 200
# After this many attempts an event is left alone, for a person to look at.
MAX_ATTEMPTS = 10


class EffectFailed(Exception):
    """An event cannot be carried out; the message says why."""


# A database that is locked or away is nobody's fault: that error ends the call, and no attempt is counted.
_FAULTS_OF_AN_EVENT = (EffectFailed, IntegrityError, DataError)


@dataclass(frozen=True, slots=True)
class Drained:
    """How many events left the outbox, and how many failed this time."""

    done: int = 0
    failed: int = 0

    def __add__(self, other: Drained) -> Drained:
        return Drained(self.done + other.done, self.failed + other.failed)


def drain_outbox() -> Drained:
    """Carry out each waiting event once; one that fails is tried again by the next call."""
    total, last_id = Drained(), 0
    # Looked for outside a transaction: on SQLite each transaction takes the write lock, which the decision path needs.
    while _waiting(last_id).exists():
        handled, last_id = _drain_chunk(last_id)
        total += handled
    return total


def _waiting(after_id: int) -> QuerySet[OutboxEvent]:
    return OutboxEvent.objects.filter(id__gt=after_id, attempts__lt=MAX_ATTEMPTS).order_by("id")


def _drain_chunk(after_id: int) -> tuple[Drained, int]:
    """Carry out the next events together; where that fails, one by one, so that the bad one alone is held back."""
    try:
        with transaction.atomic():
            events = list(_locked(_waiting(after_id))[:CHUNK_EVENTS])
            _carry_out(events)
    except _FAULTS_OF_AN_EVENT:
        return _drain_singly(after_id)
    # No event, though some were waiting: other drainers hold them all.
    return Drained(done=len(events)), events[-1].id if events else _last_id()


def _drain_singly(after_id: int) -> tuple[Drained, int]:
    total, last_id = Drained(), after_id
    for event_id in list(_waiting(after_id).values_list("id", flat=True)[:CHUNK_EVENTS]):
        last_id = event_id
        try:
            with transaction.atomic():
                events = list(_locked(OutboxEvent.objects.filter(id=event_id)))
                _carry_out(events)
            total += Drained(done=len(events))
        except _FAULTS_OF_AN_EVENT as error:
            total += Drained(failed=1)
            _record_failure(event_id, error)
    return total, last_id


def _carry_out(events: Sequence[OutboxEvent]) -> None:
    unknown = {event.topic for event in events} - {ALERT_RAISE}
    if unknown:
        raise EffectFailed(f"no effect is known for topic {sorted(unknown)[0]!r}")
    _raise_alerts([event.subject for event in events])
    OutboxEvent.objects.filter(id__in=[event.id for event in events]).delete()


def _raise_alerts(decision_ids: list[str]) -> None:
    """Open the alerts that do not exist yet; a second event for one decision changes nothing."""
    decisions = Decision.objects.filter(decision_id__in=decision_ids).in_bulk(field_name="decision_id")
    if missing := sorted(set(decision_ids) - decisions.keys()):
        raise EffectFailed(f"there is no decision {missing[0]}")
    raised = set(Alert.objects.filter(decision__in=decisions.values()).values_list("decision_id", flat=True))
    Alert.objects.bulk_create(
        Alert(decision=decision, outcome=decision.outcome, score=decision.score)
        for decision in decisions.values()
        if decision.pk not in raised
    )


def _record_failure(event_id: int, error: Exception) -> None:
    logger.warning("outbox event %s failed: %s", event_id, error)
    OutboxEvent.objects.filter(id=event_id).update(attempts=F("attempts") + 1, last_error=str(error)[:200])


def _locked(events: QuerySet[OutboxEvent]) -> QuerySet[OutboxEvent]:
    """Lock the rows, passing over those that another drainer holds; SQLite has one writer at a time anyway."""
    return events.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)


def _last_id() -> int:
    return OutboxEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0
