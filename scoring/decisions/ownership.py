"""One engine a database: a second one would keep feature windows of its own, and both would be wrong."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from scoring.errors import EngineUnavailable

# Any number will do, as long as nothing else in this database takes advisory locks by it.
_ADVISORY_KEY = 0x5249534B
_TAKEN = (
    "another process decides on this database already (a server, or a command such as bootstrap_model); "
    "stop it first: the feature windows live in one process"
)
# What this process holds: an open file that is locked, or a connection whose session holds the lock.
_files: dict[str, int] = {}
_sessions: dict[str, BaseDatabaseWrapper] = {}


def claim_database() -> None:
    """Make this process the one that decides on the database; harmless to repeat. Ends with the process at the latest.

    Raises:
        EngineUnavailable: another process is.
    """
    if connection.vendor == "postgresql":
        _claim_session()
    elif path := database_file():
        _claim_file(path)


def release_database() -> None:
    """Let another process decide."""
    for descriptor in _files.values():
        os.close(descriptor)
    _files.clear()
    for session in _sessions.values():
        session.close()
    _sessions.clear()


def database_file() -> Path | None:
    """Return SQLite's file; None where the database lives in memory."""
    name = str(connection.settings_dict["NAME"])
    return None if name.startswith(":memory:") or "mode=memory" in name else Path(name)


def _claim_file(database: Path) -> None:
    path = str(database.with_name(database.name + ".engine"))
    if path in _files:
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Of the process: the system releases it however the process ends.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise EngineUnavailable(_TAKEN) from None
    _files[path] = descriptor


def _claim_session() -> None:
    """Hold the lock in a session of its own: those of the engine come and go with its threads."""
    name = str(connection.settings_dict["NAME"])
    if (session := _sessions.get(name)) is not None:
        if session.is_usable():
            return
        session.close()
        del _sessions[name]
    session = connection.copy()
    session.inc_thread_sharing()
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_KEY])
        if not cursor.fetchone()[0]:
            session.close()
            raise EngineUnavailable(_TAKEN)
    _sessions[name] = session
