"""The truth: the same rows through Python's sqlite3, a value at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kernels.table_rows import FieldType, TableRows
from kernels.table_rows.columns import Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PlainWriter:
    """Inserts rows in a session with its own methods."""

    def __init__(self, session: sqlite3.Connection) -> None:
        self._session: sqlite3.Connection | None = session

    def close(self) -> None:
        """Let the session go."""
        self._session = None

    def insert(self, tables: Sequence[tuple[str, TableRows]], *, own_transaction: bool) -> None:
        """See kernels.sqlite_rows.RowWriter."""
        session = self._session
        if own_transaction:
            session.execute("BEGIN IMMEDIATE")
        try:
            for sql, rows in tables:
                times = [at for at, kind in enumerate(rows.types) if kind == FieldType.TIMESTAMPTZ]
                session.executemany(sql, [_with_texts(row, times) for row in rows.values()])
            if own_transaction:
                session.execute("COMMIT")
        except BaseException:
            if own_transaction and session.in_transaction:
                session.execute("ROLLBACK")
            raise


def _with_texts(row: list[Value], times: list[int]) -> list[Value]:
    for at in times:
        if row[at] is not None:
            row[at] = str((_EPOCH + timedelta(microseconds=row[at])).replace(tzinfo=None))
    return row
