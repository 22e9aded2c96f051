"""The decision ledger in plain SQL: one transaction a batch. The ORM would cost more than the scoring does."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import connection, transaction

from scoring.models import Decision, OutboxEvent

ALERT_TOPIC = "alert.raise"
_COLUMN_LIST = ",".join(
    f'"{field.column}"' for field in Decision._meta.concrete_fields if not field.primary_key
)  # quoted: "transaction" is a word of SQL
_TABLE, _OUTBOX = Decision._meta.db_table, OutboxEvent._meta.db_table
# SQLite allows 32,766 parameters in a statement, and long IN lists are slow to plan.
_LOOKUP_CHUNK = 500
_MAX_ROWS = 64


@dataclass(frozen=True)
class StoredAnswer:
    """What an earlier decision on the same transaction id left: the canonical transaction, and the answer."""

    transaction: str
    response: str


class LedgerRow(NamedTuple):
    """One decision to be stored; the fields are the columns of scoring.models.Decision, in their order."""

    decision_id: str
    transaction_id: str
    occurred_at: datetime
    received_at: datetime
    amount_minor: int
    currency: str
    type: str
    channel: str
    customer_id: str | None
    card_id: str | None
    merchant_id: str | None
    country: str | None
    transaction: str
    outcome: int
    score: int
    probability: float | None
    margin: float | None
    features: bytes
    feature_schema: str
    program_version: str
    degraded: bool
    mode: str
    stamps: int
    engine_us: int
    form_id: int | None
    evidence: bytes | None
    response: str | None


def find_answers(transaction_ids: Sequence[str]) -> dict[str, StoredAnswer]:
    """Return what is stored under these transaction ids."""
    found: dict[str, StoredAnswer] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(transaction_ids), _LOOKUP_CHUNK):
            chunk = list(transaction_ids[start : start + _LOOKUP_CHUNK])
            marks = ",".join(["%s"] * len(chunk))
            cursor.execute(
                f'SELECT transaction_id, "transaction", response FROM {_TABLE} WHERE transaction_id IN ({marks})', chunk
            )
            for transaction_id, text, response in cursor.fetchall():
                found[transaction_id] = StoredAnswer(text, response)
    return found


def commit_decisions(rows: Sequence[LedgerRow], alerting: Sequence[str], now: datetime) -> None:
    """Store the decisions and the alerts that must follow from them, in one transaction; on return they are on disk.

    Args:
        alerting: the decision ids that need an analyst.

    Raises:
        django.db.IntegrityError: a transaction id was stored by someone else meanwhile; nothing was written.
        django.db.DatabaseError: the database cannot be used; nothing was written.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                _copy_rows(cursor, rows)
            else:
                _insert_rows(cursor, rows)
            if alerting:
                insert = f"INSERT INTO {_OUTBOX} (topic, subject, created_at, attempts, last_error) VALUES (%s,%s,%s,0,'')"
                created_at = now if connection.vendor == "postgresql" else _sqlite_moment(now)
                cursor.executemany(insert, [(ALERT_TOPIC, decision_id, created_at) for decision_id in alerting])


def _copy_rows(cursor, rows: Sequence[LedgerRow]) -> None:
    # Django translates the errors of the methods that it wraps; copy() is not one of them.
    with connection.wrap_database_errors, cursor.copy(f"COPY {_TABLE} ({_COLUMN_LIST}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _insert_rows(cursor, rows: Sequence[LedgerRow]) -> None:
    """Insert many rows a statement, in sizes of powers of two, so that there are few statements to prepare.

    Each statement gives the interpreter lock away and has to win it back from the thread that talks to the callers: one
    for each row would cost more than the row.
    """
    start = 0
    while start < len(rows):
        size = min(_MAX_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        values = [value for row in rows[start : start + size] for value in _sqlite_values(row)]
        with connection.wrap_database_errors:
            # Past Django's cursor, which would translate the marks of the statement anew each time.
            sqlite3.Cursor.execute(cursor.cursor, _insert_statement(size), values)
        start += size


@functools.cache
def _insert_statement(size: int) -> str:
    marks = "(" + ",".join("?" * len(LedgerRow._fields)) + ")"
    return f"INSERT INTO {_TABLE} ({_COLUMN_LIST}) VALUES {','.join([marks] * size)}"


_OCCURRED, _RECEIVED = LedgerRow._fields.index("occurred_at"), LedgerRow._fields.index("received_at")


def _sqlite_values(row: LedgerRow) -> list:
    values = list(row)
    values[_OCCURRED], values[_RECEIVED] = _sqlite_moment(row.occurred_at), _sqlite_moment(row.received_at)
    return values


def _sqlite_moment(moment: datetime) -> str:
    """Return the instant as Django stores it in SQLite: text in UTC without an offset."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


def read_history(since: datetime, chunk_rows: int = 20_000) -> Iterator[list[tuple[int, str, str]]]:
    """Yield chunks of (seq, decision_id, transaction JSON) that occurred at or after `since`, in order of arrival."""
    last = 0
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
