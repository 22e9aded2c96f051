"""The decision ledger in plain SQL: one transaction a batch. The ORM would cost more than the scoring does."""

from __future__ import annotations

import functools
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from django.db import connection, transaction

from scoring.errors import AnswerUnreadable
from scoring.models import Decision, OutboxEvent
from scoring.stored_answers import NEEDED, stored_answer, stored_answers
from scoring.turns import ledger_turn

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
    """What an earlier decision on the same transaction id left: the canonical transaction, and the answer.

    `damage` says what is wrong with what is stored of the answer, where it cannot be given.
    """

    transaction: str
    body: bytes
    damage: AnswerUnreadable | None = None


class LedgerRows(NamedTuple):
    """n decisions to be stored; the fields are the columns of scoring.models.Decision in their order, each [n].

    Times are microseconds since 1970. All texts are ASCII without control characters and backslashes.
    """

    decision_id: Sequence[str]
    transaction_id: Sequence[str]
    occurred_at: np.ndarray
    received_at: np.ndarray
    amount_minor: Sequence[int]
    currency: Sequence[str]
    type: Sequence[str]
    channel: Sequence[str]
    customer_id: Sequence[str | None]
    card_id: Sequence[str | None]
    merchant_id: Sequence[str | None]
    country: Sequence[str | None]
    transaction: Sequence[str]
    outcome: Sequence[int]
    score: Sequence[int]
    probability: Sequence[float | None]
    margin: Sequence[float | None]
    features: Sequence[bytes]
    feature_schema: Sequence[str]
    program_version: Sequence[str]
    degraded: Sequence[bool]
    mode: Sequence[str]
    stamps: Sequence[int]
    engine_us: Sequence[int]
    form_id: Sequence[int]
    evidence: Sequence[bytes]
    response: Sequence[None]


_TIMES = [LedgerRows._fields.index(name) for name in ("occurred_at", "received_at")]
_BYTES = [LedgerRows._fields.index(name) for name in ("features", "evidence")]


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


def commit_decisions(rows: LedgerRows, alerting: Sequence[str], now: datetime) -> None:
    """Store the decisions and the alerts that must follow from them, in one transaction; on return they are on disk.

    Args:
        alerting: the decision ids that need an analyst.

    Raises:
        django.db.IntegrityError: a transaction id was stored by someone else meanwhile; nothing was written.
        django.db.DatabaseError: the database cannot be used; nothing was written.
    """
    on_postgres = connection.vendor == "postgresql"
    lines = _postgres_lines(rows) if on_postgres else _sqlite_values(rows)
    with ledger_turn(), _one_transaction(), connection.cursor() as cursor:
        if on_postgres:
            _copy_rows(cursor, lines)
        else:
            _insert_rows(cursor, lines, len(rows.decision_id))
        if alerting:
            insert = f"INSERT INTO {_OUTBOX} (topic, subject, created_at, attempts, last_error) VALUES (%s,%s,%s,0,'')"
            created_at = now if on_postgres else now.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
            cursor.executemany(insert, [(ALERT_TOPIC, decision_id, created_at) for decision_id in alerting])


@contextmanager
def _one_transaction() -> Iterator[None]:
    """Run a block as one transaction of the driver's own session; within a caller's, as a part of that.

    `transaction.atomic` keeps books for nested blocks and callbacks that a commit of the ledger has none of, which takes
    as long as all of a small batch's rows.
    """
    if connection.in_atomic_block or connection.vendor != "sqlite":
        with transaction.atomic():
            yield
        return
    connection.ensure_connection()
    session = connection.connection
    with connection.wrap_database_errors:
        session.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with connection.wrap_database_errors:
            session.execute("ROLLBACK")
        raise
    with connection.wrap_database_errors:
        session.execute("COMMIT")


def _copy_rows(cursor, lines: bytes) -> None:
    # Django translates the errors of the methods that it wraps; copy() is not one of them.
    with connection.wrap_database_errors, cursor.copy(f"COPY {_TABLE} ({_COLUMN_LIST}) FROM STDIN") as copy:
        copy.write(lines)


def _postgres_lines(rows: LedgerRows) -> bytes:
    """Return the rows in COPY's text format."""
    columns: list[Sequence] = list(rows)
    for at in _TIMES:
        columns[at] = [f"{moment}+00" for moment in np.datetime_as_string(columns[at].view("M8[us]")).tolist()]
    for at in _BYTES:
        columns[at] = ["\\\\x" + value.hex() for value in columns[at]]
    # A field that is missing in some rows only is a column of texts with gaps.
    texts = [column if type(column[0]) is str and None not in column else _texts(column) for column in columns]
    return ("\n".join(map("\t".join, zip(*texts, strict=True))) + "\n").encode("ascii")


def _texts(column: Sequence) -> list[str]:
    # repr of a float is the shortest text that gives it back, to the last bit.
    return ["\\N" if value is None else value if type(value) is str else repr(value) for value in column]


def _sqlite_values(rows: LedgerRows) -> list:
    """Return the values of all rows one after the other."""
    columns: list[Sequence] = list(rows)
    for at in _TIMES:
        columns[at] = _sqlite_moments(columns[at])
    return list(itertools.chain.from_iterable(zip(*columns, strict=True)))


def _insert_rows(cursor, values: list, count: int) -> None:
    """Insert many rows a statement, in sizes of powers of two, so that there are few statements to prepare.

    Each statement gives the interpreter lock away and has to win it back from the thread that talks to the callers: one
    for each row would cost more than the row.
    """
    start, width = 0, len(LedgerRows._fields)
    while start < count:
        size = min(_MAX_ROWS, 1 << (count - start).bit_length() - 1)
        with connection.wrap_database_errors:
            # Past Django's cursor, which would translate the marks of the statement anew each time.
            sqlite3.Cursor.execute(
                cursor.cursor, _insert_statement(size), values[start * width : (start + size) * width]
            )
        start += size


@functools.cache
def _insert_statement(size: int) -> str:
    marks = "(" + ",".join("?" * len(LedgerRows._fields)) + ")"
    return f"INSERT INTO {_TABLE} ({_COLUMN_LIST}) VALUES {','.join([marks] * size)}"


def _sqlite_moments(microseconds: np.ndarray) -> list[str]:
    """Return instants as Django stores them in SQLite: text in UTC without an offset, no fraction where it is zero."""
    return [
        (moment[:-7] if moment.endswith(".000000") else moment).replace("T", " ")
        for moment in np.datetime_as_string(microseconds.view("M8[us]")).tolist()
    ]


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
