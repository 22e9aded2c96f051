"""Rows into SQLite: by C in Python's own session, and by Python; both do the same, and fail in the same way."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.sqlite_rows import open_writer, prepare_sessions
from kernels.sqlite_rows.native_writer import NativeWriter, native_calls
from kernels.sqlite_rows.reference import PlainWriter
from kernels.table_rows import FieldType, TableRows, rows_of
from kernels.table_rows.columns import FIRST_US, LAST_US
from tests.strategies import examples

TYPES = (
    FieldType.SMALLINT, FieldType.INTEGER, FieldType.BIGINT, FieldType.DOUBLE, FieldType.BOOLEAN, FieldType.TEXT, FieldType.BYTEA,
    FieldType.TIMESTAMPTZ,
)  # fmt: skip
INSERT = "INSERT INTO rows (a, b, c, d, e, f, g, h) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
NAMES, NAME_TYPES = "INSERT INTO names (name) VALUES (?)", (FieldType.TEXT,)
VALUES = [1, 2, 3, 0.5, True, "text", b"bytes", 0]
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**15), 2**15 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False),
        st.booleans(),
        st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
        st.none() | st.binary(max_size=30),
        st.none() | st.integers(FIRST_US, LAST_US) | st.integers(0, 10**9).map(lambda seconds: seconds * 1_000_000),
    ).map(list),
    max_size=6,
)


def native(session: sqlite3.Connection) -> NativeWriter:
    calls = native_calls()
    assert calls is not None
    return NativeWriter(calls, session)


WRITERS = pytest.mark.parametrize("make", [native, PlainWriter])


def new_session(path=":memory:", **more) -> sqlite3.Connection:
    assert prepare_sessions()
    session = sqlite3.connect(path, isolation_level=None, **more)
    session.execute("CREATE TABLE IF NOT EXISTS rows (a, b, c, d, e, f, g, h)")
    session.execute("CREATE TABLE IF NOT EXISTS names (name TEXT NOT NULL UNIQUE CHECK (length(name) < 9))")
    return session


def names(*of: str | None) -> tuple[str, TableRows]:
    return NAMES, rows_of(NAME_TYPES, [[name] for name in of])


def stored(session: sqlite3.Connection, table: str = "names") -> list[tuple]:
    return session.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()


@examples(80)
@given(rows=ROWS)
def test_both_writers_store_the_same(rows):
    found = []
    for make in (native, PlainWriter):
        session = new_session()
        make(session).insert([(INSERT, rows_of(TYPES, rows))], own_transaction=True)
        assert not session.in_transaction
        found.append([[(type(value), value) for value in row] for row in stored(session, "rows")])
    assert found[0] == found[1] and len(found[0]) == len(rows)


@WRITERS
def test_times_are_texts_as_django_stores_them(make):
    session = new_session()
    rows = [[*VALUES[:7], us] for us in (1_769_854_530_123_456, 1_769_854_530_000_000, -1)]
    make(session).insert([(INSERT, rows_of(TYPES, rows))], own_transaction=True)
    assert [row[7] for row in stored(session, "rows")] == [
        "2026-01-31 10:15:30.123456", "2026-01-31 10:15:30", "1969-12-31 23:59:59.999999",
    ]  # fmt: skip


@WRITERS
@pytest.mark.parametrize("last", ["a", None, "much too long"])
def test_one_row_that_is_refused_takes_all_tables_with_it(make, last):
    session = new_session()
    writer = make(session)
    with pytest.raises(sqlite3.IntegrityError) as told:
        writer.insert([(INSERT, rows_of(TYPES, [VALUES])), names("a", "b", last)], own_transaction=True)
    assert (
        told.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CONSTRAINT and "names" in str(told.value) or last == "much too long"
    )
    assert not session.in_transaction and stored(session) == stored(session, "rows") == []
    writer.insert([names("a")], own_transaction=True)
    assert stored(session) == [("a",)], "the session goes on"


@WRITERS
def test_within_a_callers_transaction_the_caller_decides(make):
    session = new_session()
    writer = make(session)
    session.execute("BEGIN")
    writer.insert([names("a")], own_transaction=False)
    assert session.in_transaction and stored(session) == [("a",)]
    session.execute("ROLLBACK")
    assert stored(session) == []


@WRITERS
def test_a_database_that_somebody_else_writes_to_is_told_as_busy(make, tmp_path):
    session, other = new_session(tmp_path / "db", timeout=0), sqlite3.connect(tmp_path / "db", isolation_level=None)
    writer = make(session)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked") as told:
        writer.insert([names("a")], own_transaction=True)
    assert told.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY and not session.in_transaction
    other.execute("COMMIT")
    writer.insert([names("a")], own_transaction=True)
    assert other.execute("SELECT name FROM names").fetchall() == [("a",)]
    other.close()


@WRITERS
def test_a_full_database_stores_nothing_and_says_so(make, tmp_path):
    session = new_session(tmp_path / "db")
    session.execute("PRAGMA max_page_count = 4")
    rows = [[*VALUES[:6], bytes(4_000), 0]] * 8
    with pytest.raises(sqlite3.OperationalError, match="full") as told:
        make(session).insert([(INSERT, rows_of(TYPES, rows))], own_transaction=True)
    assert told.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
    assert not session.in_transaction and stored(session, "rows") == []


@WRITERS
def test_a_statement_for_no_table_is_refused(make):
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        make(new_session()).insert([("INSERT INTO strangers (name) VALUES (?)", names("a")[1])], own_transaction=True)


def test_a_session_whose_writer_was_closed_lets_its_file_go(tmp_path):
    session = new_session(tmp_path / "db")
    session.execute("PRAGMA journal_mode = WAL")
    writer = open_writer(session)
    assert isinstance(writer, NativeWriter)
    writer.insert([names("a")], own_transaction=True)
    writer.close()
    session.close()
    assert [file.name for file in tmp_path.iterdir()] == ["db"], "the last session of a write-ahead log takes it away"
