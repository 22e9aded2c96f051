"""Commits that write to SQLite's log in one piece: the same database as without, whatever fails and whoever reads meanwhile."""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kernels.native import library
from kernels.sqlite_rows import RowWriter, address_to_write_at, open_writer, prepare_sessions
from kernels.table_rows import FieldType, TableRows, rows_of

INSERT = "INSERT INTO texts (number, text) VALUES (?, ?)"


def open_session(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    assert prepare_sessions()
    session = sqlite3.connect(address_to_write_at(str(path)), uri=True, isolation_level=None, check_same_thread=False)
    session.execute("PRAGMA journal_mode = WAL")
    session.execute(f"PRAGMA synchronous = {synchronous}")
    session.execute("CREATE TABLE IF NOT EXISTS texts (number INTEGER UNIQUE, text TEXT)")
    return session


@pytest.fixture
def begin(tmp_path) -> Iterator[Callable[..., tuple[sqlite3.Connection, RowWriter]]]:
    """`begin()` opens a session on tmp_path / "db" and a writer in it; both are closed after the test."""
    opened: list[tuple[sqlite3.Connection, RowWriter]] = []

    def make(synchronous: str = "FULL", path: Path = tmp_path / "db") -> tuple[sqlite3.Connection, RowWriter]:
        session = open_session(path, synchronous)
        opened.append((session, open_writer(session)))
        return opened[-1]

    yield make
    for session, writer in opened:
        writer.close()
        session.close()


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
def test_a_commit_writes_in_few_pieces_what_it_would_have_written_in_many(begin, tmp_path, rows, size):
    _, writer = begin()
    before = counts()
    writer.insert(texts(*range(rows), size=size), own_transaction=True)
    asked, made = (now - then for now, then in zip(counts(), before, strict=True))
    assert asked >= 4 and made <= 1 + asked // 30
    assert stored(tmp_path / "db") == list(range(rows)), "while the session is still open"


def test_a_session_whose_commits_do_not_wait_for_the_disk_gathers_nothing(begin, tmp_path):
    _, writer = begin("NORMAL")
    before = counts()
    writer.insert(texts(1), own_transaction=True)
    assert counts() == before and stored(tmp_path / "db") == [1]
    writer.close()


def test_what_is_written_as_a_part_of_the_callers_transaction_is_not_gathered(begin, tmp_path):
    session, writer = begin()
    before = counts()
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
def test_a_commit_for_which_there_is_no_room_stores_nothing_and_the_next_one_is_as_if_nothing_had_happened(begin, tmp_path, room):
    session, writer = begin()
    writer.insert(texts(1), own_transaction=True)
    log = tmp_path / "db-wal"
    with no_file_larger_than(log.stat().st_size + room), pytest.raises(sqlite3.OperationalError):
        writer.insert(texts(*range(2, 302)), own_transaction=True)
    assert not session.in_transaction and stored(tmp_path / "db") == [1]
    writer.insert(texts(2, 3), own_transaction=True)
    assert stored(tmp_path / "db") == [1, 2, 3]


def test_pages_that_do_not_fit_into_the_cache_are_written_before_the_commit(begin, tmp_path):
    session, writer = begin()
    session.execute("PRAGMA cache_size = 10")
    writer.insert(texts(*range(500)), own_transaction=True)
    with pytest.raises(sqlite3.IntegrityError):
        writer.insert(texts(*range(500, 900), 3), own_transaction=True)
    writer.insert(texts(900), own_transaction=True)
    assert stored(tmp_path / "db") == [*range(500), 900]


def test_whoever_reads_meanwhile_sees_whole_transactions(begin, tmp_path):
    session, writer = begin()
    seen: list[tuple[int, int]] = []
    stop, failures = threading.Event(), []

    def read() -> None:
        try:
            with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as reader:
                while not stop.is_set():
                    seen.append(reader.execute("SELECT count(*), coalesce(sum(number), 0) FROM texts").fetchone())
        except BaseException as failure:
            failures.append(failure)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for batch in range(150):
            reads = len(seen)
            writer.insert(texts(*range(batch * 20, batch * 20 + 20), size=50), own_transaction=True)
            if batch % 40 == 0:
                session.execute("PRAGMA wal_checkpoint(RESTART)")
                while len(seen) == reads and reader.is_alive():
                    time.sleep(0.001)
    finally:
        stop.set()
        reader.join(30)
    assert not failures and len(seen) >= 4
    assert all(count % 20 == 0 and total == count * (count - 1) // 2 for count, total in seen)
    assert seen == sorted(seen)
    assert stored(tmp_path / "db") == list(range(3_000))


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


# --- the log by itself, as SQLite uses it ----------------------------------------------------------------------------------

_FILE, _LONG = ctypes.c_void_p, ctypes.c_int64
_CALL = ctypes.CFUNCTYPE


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, as far as it is called here ("sqlite3_io_methods", sqlite.org/c3ref)."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("close", _CALL(ctypes.c_int, _FILE)),
        ("read", _CALL(ctypes.c_int, _FILE, ctypes.c_char_p, ctypes.c_int, _LONG)),
        ("write", _CALL(ctypes.c_int, _FILE, ctypes.c_char_p, ctypes.c_int, _LONG)),
        ("truncate", _CALL(ctypes.c_int, _FILE, _LONG)),
        ("sync", _CALL(ctypes.c_int, _FILE, ctypes.c_int)),
    ]  # fmt: skip


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int), ("file_bytes", ctypes.c_int), ("longest_path", ctypes.c_int), ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p), ("data", ctypes.c_void_p),
        ("open", _CALL(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, _FILE, ctypes.c_int, ctypes.c_void_p)),
    ]  # fmt: skip


class Log:
    """A log that is opened by the VFS."""

    def __init__(self, path: Path) -> None:
        assert prepare_sessions()
        find = ctypes.CDLL(_sqlite3.__file__).sqlite3_vfs_find
        find.restype, find.argtypes = ctypes.POINTER(_Vfs), [ctypes.c_char_p]
        vfs = find(b"gathered-log")
        path.with_name(path.name.removesuffix("-wal")).touch()  # whose permissions the log gets
        self.path, self.name = path, os.fsencode(path) + bytes(4)
        self.file = ctypes.create_string_buffer(vfs.contents.file_bytes)
        self.place = ctypes.addressof(self.file)
        flags = 0x00080000 | 0x2 | 0x4  # a log, to read and write, to be created
        assert vfs.contents.open(ctypes.addressof(vfs.contents), self.name, self.place, flags, None) == 0
        self.methods = ctypes.cast(self.place, ctypes.POINTER(ctypes.POINTER(_Methods))).contents.contents

    def write(self, content: bytes, at: int) -> None:
        assert self.methods.write(self.place, content, len(content), at) == 0

    def sync(self) -> None:
        assert self.methods.sync(self.place, 2) == 0

    def close(self) -> None:
        assert self.methods.close(self.place) == 0


@pytest.fixture
def log(tmp_path) -> Iterator[Log]:
    opened = Log(tmp_path / "db-wal")
    yield opened
    library().gathered_log_hold(0)


def test_what_is_held_is_there_once_the_log_is_synced(log):
    library().gathered_log_hold(1)
    log.write(b"one", 0)
    log.write(b"two", 3)
    assert log.path.read_bytes() == b""
    log.sync()
    assert log.path.read_bytes() == b"onetwo"
    log.write(b"padding", 6)
    assert log.path.read_bytes() == b"onetwopadding", "seen by others before any further sync"
    library().gathered_log_hold(0)
    log.close()


@pytest.mark.parametrize("then", ["read", "write", "close"])
def test_what_a_failed_commit_left_never_reaches_a_place_that_may_be_anothers_by_now(log, then):
    library().gathered_log_hold(1)
    log.write(b"of the failed commit", 0)
    library().gathered_log_hold(0)
    log.path.write_bytes(b"of another session  ")
    if then == "read":
        found = ctypes.create_string_buffer(20)
        assert log.methods.read(log.place, ctypes.cast(found, ctypes.c_char_p), 20, 0) == 0
        assert found.raw == b"of another session  "
    elif then == "write":
        log.write(b"!", 20)
    log.close()
    assert log.path.read_bytes().startswith(b"of another session  ")


def test_two_logs_of_one_thread_do_not_hold_at_once(log, tmp_path):
    other = Log(tmp_path / "other-wal")
    library().gathered_log_hold(1)
    log.write(b"held", 0)
    other.write(b"written", 0)
    assert log.path.read_bytes() == b"" and other.path.read_bytes() == b"written"
    log.sync()
    assert log.path.read_bytes() == b"held"
    for each in (log, other):
        each.close()
