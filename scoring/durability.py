"""Start-up check of the promise: a decision that was answered is on disk. Settings that break it stop the start.

PostgreSQL: with `fsync` off nothing waits for the disk; with `full_page_writes` off a page that was half written when the
power went cannot be repaired; with `synchronous_commit` off a commit is reported before it is written ("Reliability and
the Write-Ahead Log", PostgreSQL manual). The last can also be set for a role, a database, or in the address of the
database, so it is asked of the very session that will write, and again of each session that replaces it.

SQLite: in WAL mode with `synchronous` below FULL a commit may be rolled back after a power loss (sqlite.org/pragma.html).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from scoring.errors import UnsafeDurability

logger = logging.getLogger(__name__)

_SQLITE_LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")
# Where PostgreSQL says a value comes from -> what takes it away.
_REMEDIES = {
    "client": "remove it from DATABASE_URL's options and from PGOPTIONS",
    "user": "ALTER ROLE {role} RESET {name}",
    "database": "ALTER DATABASE {database} RESET {name}",
    "database user": "ALTER ROLE {role} IN DATABASE {database} RESET {name}",
    "session": "remove the SET {name} of this connection",
    "command line": "start the server without -c {name}",
}


@dataclass(frozen=True, slots=True)
class UnsafeSetting:
    """A setting under which answered decisions can be lost, and what to do about it."""

    name: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name} is {self.value}: {self.remedy}"


def unsafe_settings(of: BaseDatabaseWrapper | None = None) -> list[UnsafeSetting]:
    """Return what is wrong with this thread's database session; empty where the promise holds."""
    of = of or connection
    return _of_postgresql(of) if of.vendor == "postgresql" else _of_sqlite(of)


def require_durability(of: BaseDatabaseWrapper | None = None) -> list[UnsafeSetting]:
    """Check this thread's session, and return what ALLOW_UNSAFE_DURABILITY lets pass.

    Raises:
        UnsafeDurability: the database could lose answered decisions, and ALLOW_UNSAFE_DURABILITY is off.
    """
    found = unsafe_settings(of)
    if found and not settings.ALLOW_UNSAFE_DURABILITY:
        raise UnsafeDurability(
            "the database could lose decisions that were answered already: "
            + "; ".join(map(str, found))
            + ". Or set ALLOW_UNSAFE_DURABILITY=true if losing them does not matter here"
        )
    _state.allowed = found
    if found and not _state.told:
        _state.told = True
        logger.warning("ALLOW_UNSAFE_DURABILITY is on and answered decisions can be lost: %s", "; ".join(map(str, found)))
    return found


def allowed_unsafe_settings() -> list[UnsafeSetting]:
    """What the last check of this process let pass, for the metric."""
    return _state.allowed


def watch_this_thread() -> None:
    """Check each database session that this thread opens from now on; to be called by threads that commit decisions.

    A session that breaks the promise is closed at once, and opening it raises UnsafeDurability. Other threads, which
    open one a request, are left alone.
    """
    _thread.is_watched = True
    connection_created.connect(_check_new_session, dispatch_uid="scoring.durability")


class _State:
    def __init__(self) -> None:
        self.allowed: list[UnsafeSetting] = []
        self.told = False


_state = _State()
_thread = threading.local()


def _check_new_session(sender: Any, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if not getattr(_thread, "is_watched", False):
        return
    try:
        require_durability(connection)
    except UnsafeDurability:
        connection.close()  # otherwise the next use would find it open, and nobody would ask again
        raise


def _of_postgresql(of: BaseDatabaseWrapper) -> list[UnsafeSetting]:
    with of.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting, source, current_user, current_database() FROM pg_settings "
            "WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name"
        )
        return [UnsafeSetting(name, value, _remedy(name, *rest)) for name, value, *rest in cursor.fetchall()]


def _remedy(name: str, source: str, role: str, database: str) -> str:
    usual = "set it to on in postgresql.conf (or ALTER SYSTEM SET {name} = on) and reload"
    return _REMEDIES.get(source, usual).format(name=name, role=role, database=database)


def _of_sqlite(of: BaseDatabaseWrapper) -> list[UnsafeSetting]:
    with of.cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        level = int(cursor.fetchone()[0])
        cursor.execute("PRAGMA journal_mode")
        journal = str(cursor.fetchone()[0])
    found = []
    if level < _SQLITE_LEVELS.index("FULL"):
        remedy = "open the database with PRAGMA synchronous=FULL, as riskapp/settings.py does"
        found.append(UnsafeSetting("synchronous", _SQLITE_LEVELS[level], remedy))
    if journal != "wal":
        remedy = "use a database file on a local disk with PRAGMA journal_mode=WAL, as riskapp/settings.py does"
        found.append(UnsafeSetting("journal_mode", journal, remedy))
    return found
