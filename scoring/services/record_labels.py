"""Recording what became known about transactions."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from django.conf import settings
from django.db import connection, transaction
from msgspec import Meta, Struct

from scoring.errors import DecisionNotFound, InvalidInput, ScoringError
from scoring.models import Decision, Label
from scoring.problems import problem_of
from scoring.reading import field_faults
from scoring.transactions import FieldFault, Identifier, holds_card_number

_CHUNK = 500
_LOCK = 0x6C61_6265_6C73  # "labels", the name of the lock
# A time beyond these has no representation in some zone, and is a mistake in any.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class LabelInput(Struct, frozen=True, forbid_unknown_fields=True):
    """One verdict as the API takes it. `label_id` makes a repeated call harmless."""

    label: Literal["fraud", "legitimate", "dispute", "chargeback"]
    source: Literal["analyst", "customer", "network", "chargeback", "simulator"]
    reported_at: Annotated[datetime, Meta(tz=True)]
    transaction_id: Identifier | None = None
    decision_id: Identifier | None = None
    fraud_type: Annotated[str, Meta(max_length=40, pattern=r"^[A-Za-z0-9_\-]*$(?!\n)")] = ""
    confidence: Annotated[float, Meta(ge=0, le=1)] = 1.0
    occurred_at: Annotated[datetime, Meta(tz=True)] | None = None
    label_id: Identifier | None = None


class LabelConflict(ScoringError):
    """The label id is known with another content."""

    code = "label_conflict"
    status = 409

    def __init__(self) -> None:
        super().__init__("this label_id was already recorded with other content; labels are never changed, send a new label_id")


def record_labels(labels: list[dict[str, Any]], actor: str) -> list[dict[str, Any]]:
    """Store labels that name a known decision, all in one transaction; one result each, in order.

    A result is {index, status: 201, label_id}, {index, status: 200, label_id} for one that was recorded before, or
    {index, status, error}.
    """
    received_at = datetime.now(UTC)
    read = [_read(raw) for raw in labels]
    inputs = [label for label in read if isinstance(label, LabelInput)]
    with transaction.atomic():
        _wait_for_other_writers()
        decisions = _decisions_of(inputs)
        known = _known([label.label_id for label in inputs if label.label_id])
        rows: list[Label] = []
        outcomes = [_place(item, decisions, known, rows, received_at, actor) for item in read]
        Label.objects.bulk_create(rows, batch_size=_CHUNK)
    return [_result(i, outcome) for i, outcome in enumerate(outcomes)]


def _wait_for_other_writers() -> None:
    """Hold PostgreSQL's lock on writing labels to the end of the transaction; SQLite has one writer in any case.

    Engines read labels by ascending id and never look back, so that ids must become visible in order. It also makes
    two senders of one label_id meet the check below, not the constraint.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _read(raw: Any) -> LabelInput | ScoringError:
    if not isinstance(raw, dict):
        return InvalidInput([FieldFault("", "not_an_object", "a label must be one JSON object")])
    try:
        label = msgspec.convert(raw, LabelInput)
    except msgspec.ValidationError:
        return InvalidInput(field_faults(raw, LabelInput))
    if (label.transaction_id is None) == (label.decision_id is None):
        return InvalidInput([FieldFault("", "no_decision", "send either transaction_id or decision_id")])
    if faults := _faults_of(label):
        return InvalidInput(faults)
    return label


def _faults_of(label: LabelInput) -> list[FieldFault]:
    faults = []
    for name in ("reported_at", "occurred_at"):
        moment = getattr(label, name)
        if moment is not None and not _EARLIEST <= moment <= _LATEST:
            faults.append(FieldFault(f"/{name}", "out_of_range", f"{name} must lie between 1970 and {_LATEST.year}"))
    # Not decision_id: we gave it out, it is only looked up, and one in some thousands happens to look like a card number.
    for name in ("transaction_id", "label_id", "fraud_type"):
        if holds_card_number(getattr(label, name) or ""):
            message = f"{name} looks like a card number; card numbers are not accepted"
            faults.append(FieldFault(f"/{name}", "card_number_not_accepted", message))
    return faults


def _faults_against(label: LabelInput, occurred_at: datetime, received_at: datetime) -> list[FieldFault]:
    """Return what does not fit the transaction: the latest report wins, so that a date far ahead would shut out all others."""
    faults = []
    if label.reported_at > received_at + timedelta(seconds=settings.MAX_FUTURE_SECONDS):
        faults.append(FieldFault("/reported_at", "in_the_future", "reported_at must not lie ahead of this server's clock"))
    if label.reported_at < occurred_at:
        faults.append(FieldFault("/reported_at", "before_the_transaction", "reported_at must not lie before the transaction"))
    if label.occurred_at is not None and label.occurred_at != occurred_at:
        faults.append(FieldFault("/occurred_at", "other_time", "occurred_at must be that of the transaction; leave it out"))
    return faults


def _decisions_of(inputs: list[LabelInput]) -> dict[str, tuple[int, datetime]]:
    """Return (seq, occurred_at) by "t" + transaction_id or "d" + decision_id."""
    found = {}
    for kind, field in (("t", "transaction_id"), ("d", "decision_id")):
        names = [name for label in inputs if (name := getattr(label, field))]
        for start in range(0, len(names), _CHUNK):
            rows = Decision.objects.filter(**{f"{field}__in": names[start : start + _CHUNK]}).values_list(
                field, "seq", "occurred_at"
            )
            found |= {kind + name: (seq, occurred_at) for name, seq, occurred_at in rows}
    return found


def _known(label_ids: list[str]) -> dict[str, tuple]:
    found = {}
    for start in range(0, len(label_ids), _CHUNK):
        for label in Label.objects.filter(label_id__in=label_ids[start : start + _CHUNK]):
            found[label.label_id] = _content(label)
    return found


def _content(label: Label) -> tuple:
    return label.decision_id, label.label, label.source, label.fraud_type, label.confidence, label.reported_at


def _place(
    item, decisions: dict, known: dict, rows: list[Label], received_at: datetime, actor: str
) -> ScoringError | tuple[int, str]:
    """Add the row to be stored; return (status, label id) or why it is refused."""
    if isinstance(item, ScoringError):
        return item
    decision = decisions.get(f"t{item.transaction_id}" if item.transaction_id else f"d{item.decision_id}")
    if decision is None:
        return DecisionNotFound("there is no decision for this label; send the transaction first")
    if faults := _faults_against(item, decision[1], received_at):
        return InvalidInput(faults)
    row = Label(
        label_id=item.label_id or f"lbl_{uuid.uuid4().hex}",
        decision_id=decision[0],
        label=item.label,
        fraud_type=item.fraud_type,
        source=item.source,
        confidence=item.confidence,
        occurred_at=decision[1],
        reported_at=item.reported_at,
        received_at=received_at,
        actor=actor,
    )
    if row.label_id in known:
        return (200, row.label_id) if known[row.label_id] == _content(row) else LabelConflict()
    known[row.label_id] = _content(row)
    rows.append(row)
    return 201, row.label_id


def _result(index: int, outcome: ScoringError | tuple[int, str]) -> dict[str, Any]:
    if isinstance(outcome, ScoringError):
        return {"index": index, "status": outcome.status, "error": problem_of(outcome, "")}
    return {"index": index, "status": outcome[0], "label_id": outcome[1]}
