"""Who may decide on a database: one process with windows of its own, or any number that share one log of events.

Two that did not know of each other's decisions would both answer on wrong windows.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from pathlib import Path

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from scoring.commit_sessions import CLAIMS, end_own_claims, mark_session
from scoring.decisions.shared_store import LOCAL, database_file, store_identity
from scoring.errors import EngineUnavailable

# Any number will do, as long as nothing else in this database takes advisory locks by it.
_ADVISORY_KEY = 0x5249534B
_TAKEN = (
    "another process decides on this database already (a server, or a command such as bootstrap_model); "
    "stop it first: the feature windows live in one process, unless STATE_STORE=redis in all of them"
)
_OTHER_STORE = (
    "other processes decide on this database with another STATE_STORE or STATE_STORE_URL; "
    "give all of them the same: their features would differ"
)
# How long the first process may take to write down which log it shares.
_PATIENCE_SECONDS = 0.5
# What this process holds: an open file that is locked, or a connection whose session holds the lock; and for which store.
_files: dict[str, tuple[int, str]] = {}
_sessions: dict[str, tuple[BaseDatabaseWrapper, str]] = {}
_claiming = threading.Lock()


def claim_database() -> None:
    """Make this process one that decides on the database; harmless to repeat. Ends with the process at the latest.

    Raises:
        EngineUnavailable: another process is, and does not share its feature windows in the same way.
    """
    store = store_identity()
    with _claiming:
        if connection.vendor == "postgresql":
            _claim_session(store)
        elif path := database_file():
            _claim_file(path, store)


def release_database() -> None:
    """Let another process decide."""
    with _claiming:
        for descriptor, _ in _files.values():
            os.close(descriptor)
        _files.clear()
        for session, _ in _sessions.values():
            session.close()
        _sessions.clear()


def _claim_file(database: Path, store: str) -> None:
    path = str(database.with_name(database.name + ".engine"))
    if path in _files:
        descriptor, held = _files[path]
        if held == store:
            return
        del _files[path]
        os.close(descriptor)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Of the process: the system releases it however the process ends.
        if store == LOCAL:
            _lock(descriptor, fcntl.LOCK_EX)
        else:
            _share_file(descriptor, store)
    except BaseException:
        os.close(descriptor)
        raise
    _files[path] = (descriptor, store)


def _share_file(descriptor: int, store: str) -> None:
    """Take a share of the lock, whose file says what is shared."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            _lock(descriptor, fcntl.LOCK_EX)
        except EngineUnavailable:
            pass
        else:  # nobody else: say what is shared from now on
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, store.encode(), 0)
        try:
            _lock(descriptor, fcntl.LOCK_SH)
            break
        except EngineUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if os.pread(descriptor, 4096, 0).decode() != store:
        raise EngineUnavailable(_OTHER_STORE)


def _lock(descriptor: int, mode: int) -> None:
    try:
        fcntl.lockf(descriptor, mode | fcntl.LOCK_NB)
    except OSError:
        raise EngineUnavailable(_TAKEN) from None


def _claim_session(store: str) -> None:
    """Hold the lock in a session of its own: those of the engine come and go with its threads."""
    name = str(connection.settings_dict["NAME"])
    if (of := _sessions.get(name)) is not None:
        session, held = of
        if held == store and session.is_usable():
            return
        session.close()
        del _sessions[name]
    session = connection.copy()
    session.inc_thread_sharing()
    try:
        _lock_session(session, store)
    except BaseException:
        session.close()
        raise
    _sessions[name] = (session, store)


def _lock_session(session: BaseDatabaseWrapper, store: str) -> None:
    # PostgreSQL may not have noticed yet that a session of ours broke off, and it would still hold the lock.
    end_own_claims(session)
    mark_session(session, CLAIMS)
    with session.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock{'' if store == LOCAL else '_shared'}(%s)", [_ADVISORY_KEY])
        if not cursor.fetchone()[0]:
            raise EngineUnavailable(_TAKEN)
        if store == LOCAL:
            return
        # A second lock says which log is shared; any other number than ours beside it is another log.
        number = int.from_bytes(hashlib.sha256(store.encode()).digest()[:4]) >> 1
        cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", [_ADVISORY_KEY, number])
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND objid <> %s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [_ADVISORY_KEY, number],
        )
        if cursor.fetchone()[0]:
            raise EngineUnavailable(_OTHER_STORE)
