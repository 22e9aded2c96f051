"""Rows of kernels.table_rows into tables of SQLite, in a session of Python's sqlite3: one call for a whole transaction.

The contract
------------
* A call inserts the rows of several tables, each by its statement, whose n-th mark is the n-th field. In a transaction of
  its own all of them are on disk upon return, as the session's settings say, or none is; as a part of the caller's
  transaction, the caller takes back what was inserted before a failure.
* Whole numbers (of 2, 4 and 8 bytes, to int64), float64, booleans (0 and 1), texts, bytes and NULL are stored as what they
  are. Times are stored as Django stores them: text in UTC, "2026-01-31 10:15:30.123456", without a fraction where it is zero.
* What fails raises what Python's sqlite3 would raise, with its `sqlite_errorcode`.

Python's sqlite3 takes a microsecond for each value, and gives the interpreter's lock away and takes it back for each
statement. cpu.c works in the same session (the pointer comes from a function of SQL, session_handle(), which SQLite adds to
each session that is opened after `prepare_sessions`) without the lock, and binds texts and bytes where they lie.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Protocol

from kernels.sqlite_rows.native_writer import NativeWriter, gathering_address, native_calls
from kernels.sqlite_rows.reference import PlainWriter
from kernels.table_rows import TableRows

__all__ = ["RowWriter", "address_to_write_at", "open_writer", "prepare_sessions"]


class RowWriter(Protocol):
    """Inserts rows in one session. Not safe for use by several threads at once."""

    def insert(self, tables: Sequence[tuple[str, TableRows]], *, own_transaction: bool) -> None:
        """Insert the rows of each table by its statement; see the module's text.

        Raises:
            sqlite3.Error: SQLite refuses a row, or cannot be used.
            MemoryError: there is no memory.
        """

    def close(self) -> None:
        """Let the session go: it cannot close while a writer holds statements in it."""


def prepare_sessions() -> bool:
    """Let all sessions of this process that are opened from now on be written in by C; return whether that is possible.

    Where it is not, the log says why, once.
    """
    return native_calls() is not None


def address_to_write_at(path: str) -> str:
    """Return a URI for a session that a writer is to be opened in: commits then write to the log in one piece, which takes a
    fifth (of one row) to a third (of 100) less of the processor's time. The path itself where that is not possible; either opens
    the database."""
    return path if native_calls() is None else gathering_address(path)


def open_writer(session: sqlite3.Connection) -> RowWriter:
    """Return a writer in a session, which must have been opened after `prepare_sessions`; close it before the session.

    Raises:
        sqlite3.OperationalError: the session was opened earlier.
    """
    native = native_calls()
    return PlainWriter(session) if native is None else NativeWriter(native, session)
