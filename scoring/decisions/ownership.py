"""One engine a database: a second one would keep feature windows of its own, and both would be wrong."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from django.db import connection

from scoring.errors import EngineUnavailable

# Any number will do, as long as nothing else in this database takes advisory locks by it.
_ADVISORY_KEY = 0x5249534B
_locked_files: dict[str, int] = {}
_TAKEN = (
    "another process decides on this database already (a server, or a command such as bootstrap_model); "
    "stop it first: the feature windows live in one process"
)


def claim_database() -> None:
    """Make this process the one that decides on the database; harmless to repeat. Ends with the process.

    Raises:
        EngineUnavailable: another process is.
    """
    if connection.vendor == "postgresql":
        _claim_postgres()
    elif path := _database_file():
        _claim_file(path)


def _database_file() -> Path | None:
    name = str(connection.settings_dict["NAME"])
    return None if name.startswith(":memory:") or "mode=memory" in name else Path(name)


def _claim_file(database: Path) -> None:
    path = str(database.with_name(database.name + ".engine"))
    if path in _locked_files:
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Of the process: the system releases it however the process ends.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise EngineUnavailable(_TAKEN) from None
    _locked_files[path] = descriptor


def _claim_postgres() -> None:
    """Take a lock of the session; it is asked for again at each refresh, since a new connection is a new session."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND pid = pg_backend_pid() "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [_ADVISORY_KEY],
        )
        if cursor.fetchone()[0]:
            return
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_KEY])
        if not cursor.fetchone()[0]:
            raise EngineUnavailable(_TAKEN)
