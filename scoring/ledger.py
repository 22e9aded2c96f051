"""The decision ledger in plain SQL: one transaction a batch. The ORM would cost more than the scoring does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from scoring.engine import ID_BYTES, table_rows
from scoring.errors import AnswerUnreadable
from scoring.ledger_tables import DECISIONS, OUTBOX, store_rows
from scoring.models import Decision
from scoring.stored_answers import NEEDED, stored_answer, stored_answers
from scoring.transactions import utc_microseconds
from scoring.turns import ledger_turn

ALERT_TOPIC = "alert.raise"
# SQLite allows 32,766 parameters in a statement, and long IN lists are slow to plan.
_LOOKUP_CHUNK = 500


@dataclass(frozen=True)
class StoredAnswer:
    """What an earlier decision on the same transaction id left: the canonical transaction, and the answer.

    `damage` says what is wrong with what is stored of the answer, where it cannot be given.
    """

    transaction: str
    body: bytes
    damage: AnswerUnreadable | None = None


def find_answers(transaction_ids: Sequence[str]) -> dict[str, StoredAnswer]:
    """Return what is stored under these transaction ids."""
    found: dict[str, StoredAnswer] = {}
    for start in range(0, len(transaction_ids), _LOOKUP_CHUNK):
        chunk = list(transaction_ids[start : start + _LOOKUP_CHUNK])
        rows = list(Decision.objects.filter(transaction_id__in=chunk).values_list(*NEEDED, "transaction", named=True))
        try:
            bodies = stored_answers(rows)
        except AnswerUnreadable:  # a damaged row is an error of its own transaction, and of no other in the batch
            found |= {row.transaction_id: _one_answer(row) for row in rows}
        else:
            for row, body in zip(rows, bodies, strict=True):
                found[row.transaction_id] = StoredAnswer(row.transaction, body)
    return found


def _one_answer(row) -> StoredAnswer:
    try:
        return StoredAnswer(row.transaction, stored_answer(row))
    except AnswerUnreadable as error:
        return StoredAnswer(row.transaction, b"", error)


def commit_decisions(rows: table_rows.TableRows, alerting: bytes, now: datetime) -> None:
    """Store the decisions and the alerts that must follow from them, in one transaction; on return they are on disk.

    Args:
        rows: of DECISIONS.
        alerting: the decision ids that need an analyst, ID_BYTES each and one behind the other.

    Raises:
        django.db.IntegrityError: a transaction id was stored by someone else meanwhile; nothing was written.
        django.db.DatabaseError: the database cannot be used; nothing was written.
    """
    tables = [(DECISIONS, rows)]
    if alerting:
        tables.append((OUTBOX, _outbox_rows(alerting, now)))
    with ledger_turn():
        store_rows(tables)


def _outbox_rows(decision_ids: bytes, now: datetime) -> table_rows.TableRows:
    n = len(decision_ids) // ID_BYTES
    return _ALERTS.write(n, (np.full(n, utc_microseconds(now)),), (decision_ids,))


_ALERT_COLUMNS = {
    "topic": table_rows.Constant(ALERT_TOPIC),
    "subject": table_rows.Slice(0, ID_BYTES),
    "created_at": table_rows.Number("created_at"),
    "attempts": table_rows.Constant(0),
    "last_error": table_rows.Constant(""),
}
_ALERTS = table_rows.RowLayout(
    {"created_at": table_rows.Array("i8")},
    OUTBOX.ordered(_ALERT_COLUMNS),
    texts=1,
)


def read_history(since: datetime, chunk_rows: int = 20_000, *, after: int = 0) -> Iterator[list[tuple[int, str, str]]]:
    """Yield chunks of (seq, decision_id, transaction JSON), in order of arrival.

    Args:
        since: what occurred before this is left out.
        after: the seq after which to begin.
    """
    last = after
    while True:
        rows = list(
            Decision.objects.filter(seq__gt=last, occurred_at__gte=since)
            .order_by("seq")
            .values_list("seq", "decision_id", "transaction")[:chunk_rows]
        )
        if not rows:
            return
        yield rows
        last = rows[-1][0]
