"""Commits that write to SQLite's log in one piece: the same database as without, whatever fails and whoever reads meanwhile."""

from __future__ import annotations

import ctypes
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kernels.native import library
from kernels.sqlite_rows import address_to_write_at, open_writer, prepare_sessions
from kernels.table_rows import FieldType, TableRows, rows_of

INSERT = "INSERT INTO texts (number, text) VALUES (?, ?)"


def open_session(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    assert prepare_sessions()
    session = sqlite3.connect(address_to_write_at(str(path)), uri=True, isolation_level=None, check_same_thread=False)
    session.execute("PRAGMA journal_mode = WAL")
    session.execute(f"PRAGMA synchronous = {synchronous}")
    session.execute("CREATE TABLE IF NOT EXISTS texts (number INTEGER UNIQUE, text TEXT)")
    return session


def texts(*numbers: int, size: int = 1_000) -> list[tuple[str, TableRows]]:
    rows = [[number, chr(97 + number % 26) * size] for number in numbers]
    return [(INSERT, rows_of((FieldType.BIGINT, FieldType.TEXT), rows))]


def counts() -> tuple[int, int]:
    """Return (writes asked for, writes made) by commits that may gather, since the process began."""
    out = (ctypes.c_int64 * 2)()
    library().gathered_log_counts(out)
    return out[0], out[1]


def stored(path: Path) -> list[int]:
    """Return what another process would find: by a session without any of this."""
    with closing(sqlite3.connect(path)) as session:
        assert session.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        wrong = "text <> replace(hex(zeroblob(length(text))), '00', substr(text, 1, 1))"
        assert session.execute(f"SELECT count(*) FROM texts WHERE {wrong}").fetchone() == (0,)
        return [number for (number,) in session.execute("SELECT number FROM texts ORDER BY number")]


@pytest.mark.parametrize(("rows", "size"), [(1, 10), (40, 1_000), (3_000, 400), (2, 300_000)])
def test_a_commit_writes_in_few_pieces_what_it_would_have_written_in_many(tmp_path, rows, size):
    session = open_session(tmp_path / "db")
    writer, before = open_writer(session), counts()
    writer.insert(texts(*range(rows), size=size), own_transaction=True)
    asked, made = (now - then for now, then in zip(counts(), before, strict=True))
    assert asked >= 4 and made <= 1 + asked // 30
    assert stored(tmp_path / "db") == list(range(rows)), "while the session is still open"
    writer.close()


def test_a_session_whose_commits_do_not_wait_for_the_disk_gathers_nothing(tmp_path):
    session = open_session(tmp_path / "db", "NORMAL")
    writer, before = open_writer(session), counts()
    writer.insert(texts(1), own_transaction=True)
    assert counts() == before and stored(tmp_path / "db") == [1]
    writer.close()


def test_what_is_written_as_a_part_of_the_callers_transaction_is_not_gathered(tmp_path):
    session = open_session(tmp_path / "db")
    writer, before = open_writer(session), counts()
    session.execute("BEGIN")
    writer.insert(texts(1), own_transaction=False)
    session.execute("COMMIT")
    assert counts() == before and stored(tmp_path / "db") == [1]
    writer.close()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 5_000, 60_000, 140_000])
def test_a_commit_for_which_there_is_no_room_stores_nothing_and_the_next_one_is_as_if_nothing_had_happened(tmp_path, room):
    session = open_session(tmp_path / "db")
    writer = open_writer(session)
    writer.insert(texts(1), own_transaction=True)
    log = tmp_path / "db-wal"
    with no_file_larger_than(log.stat().st_size + room), pytest.raises(sqlite3.OperationalError):
        writer.insert(texts(*range(2, 302)), own_transaction=True)
    assert not session.in_transaction and stored(tmp_path / "db") == [1]
    writer.insert(texts(2, 3), own_transaction=True)
    assert stored(tmp_path / "db") == [1, 2, 3]
    writer.close()


def test_pages_that_do_not_fit_into_the_cache_are_written_before_the_commit(tmp_path):
    session = open_session(tmp_path / "db")
    session.execute("PRAGMA cache_size = 10")
    writer = open_writer(session)
    writer.insert(texts(*range(500)), own_transaction=True)
    with pytest.raises(sqlite3.IntegrityError):
        writer.insert(texts(*range(500, 900), 3), own_transaction=True)
    writer.insert(texts(900), own_transaction=True)
    assert stored(tmp_path / "db") == [*range(500), 900]
    writer.close()


def test_whoever_reads_meanwhile_sees_whole_transactions(tmp_path):
    session, path = open_session(tmp_path / "db"), tmp_path / "db"
    writer, seen, stop = open_writer(session), [], threading.Event()

    def read() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            while not stop.is_set():
                seen.append(reader.execute("SELECT count(*), coalesce(sum(number), 0) FROM texts").fetchone())

    reader = threading.Thread(target=read)
    reader.start()
    for batch in range(150):
        writer.insert(texts(*range(batch * 20, batch * 20 + 20), size=50), own_transaction=True)
        if batch % 40 == 0:
            session.execute("PRAGMA wal_checkpoint(RESTART)")
    stop.set()
    reader.join()
    assert all(count % 20 == 0 and total == count * (count - 1) // 2 for count, total in seen)
    assert seen == sorted(seen)
    assert stored(path) == list(range(3_000))
    writer.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from kernels.sqlite_rows import open_writer
from tests.kernels.test_gathered_log import open_session, texts
session = open_session(Path(sys.argv[1]))
writer = open_writer(session)
for number in range(30):
    writer.insert(texts(number), own_transaction=True)
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_committed_is_there_after_the_process_was_killed(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "db")], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(number) for number in range(30)], done.stderr
    assert stored(tmp_path / "db") == list(range(30))


def test_any_path_is_opened_as_it_is(tmp_path):
    path = tmp_path / "a b?c=d&e#f%20g.db"
    session = open_session(path)
    writer = open_writer(session)
    writer.insert(texts(1), own_transaction=True)
    assert stored(path) == [1]
    writer.close()
    session.close()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
