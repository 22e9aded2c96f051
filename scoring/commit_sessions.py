"""The PostgreSQL sessions that store decisions, or claim the right to, and how those that nobody holds any more are ended.

A connection that breaks, or a process that is killed, leaves its session behind, and what the server had received by then it
may still carry out: a decision comes into the ledger after its absence was looked up. So a session that stores decisions
says so by an advisory lock, which it keeps until it has ended and nothing of it can be committed any more; whoever looks up
what became of a commit ends the abandoned ones first (fencing: M. Kleppmann, "Designing Data-Intensive Applications", ch. 8).
SQLite needs none of this: what had no COMMIT is gone with the connection or the process.
"""

from __future__ import annotations

import logging
import os
import secrets
import weakref
from collections.abc import Set
from typing import Any

from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

logger = logging.getLogger(__name__)

# Any numbers will do, as long as nothing else in this database takes advisory locks by them.
STORES, CLAIMS = 0x5249534C, 0x5249534D
_PATIENCE_MS = 5_000
_MARKED = "_says_what_it_does"


class _Process:
    """A number that tells this process from the others that decide, and its sessions that store; a fork is another process."""

    def __init__(self) -> None:
        self._pid, self._number = 0, 0
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()

    def number(self) -> int:
        if self._pid != os.getpid():
            self._pid, self._number, self._sessions = os.getpid(), secrets.randbits(31), weakref.WeakSet()
        return self._number

    def note(self, session: Any) -> None:
        """Remember a psycopg connection for as long as there is one."""
        self.number()
        self._sessions.add(session)

    def held(self) -> set[int]:
        """Return the sessions that somebody here still holds."""
        self.number()
        return {session.info.backend_pid for session in list(self._sessions) if not session.closed}


_process = _Process()


def mark_session(of: BaseDatabaseWrapper = connection, what: int = STORES) -> None:
    """Let a session say what it does and for which process, until it has ended; once is enough for a session.

    Args:
        of: its connection, this thread's if left out.
        what: STORES, before the first decision that it stores, or CLAIMS.

    Raises:
        django.db.DatabaseError: it could not, and must not store any.
    """
    session = of.connection
    if getattr(session, _MARKED, False):
        return
    with of.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", [what, _process.number()])
    setattr(of.connection, _MARKED, True)
    if what == STORES:
        _process.note(of.connection)


def end_abandoned_sessions(*, of_all_processes: bool) -> None:
    """End the sessions that store decisions and that nobody in this process holds; on return nothing of theirs will be committed.

    Args:
        of_all_processes: whether this process is the only one that may decide; otherwise only its own are ended.

    Raises:
        django.db.DatabaseError: one of them has not ended yet, or the database cannot be asked.
    """
    if connection.vendor == "postgresql":
        _end(connection, STORES, None if of_all_processes else _process.number(), _process.held())


def end_own_claims(of: BaseDatabaseWrapper) -> None:
    """End the sessions by which this process claimed a database and that it has lost, but for the session of `of`.

    Raises:
        django.db.DatabaseError: see end_abandoned_sessions.
    """
    _end(of, CLAIMS, _process.number())


def _end(by: BaseDatabaseWrapper, what: int, process: int | None, spared: Set[int] = frozenset()) -> None:
    with by.cursor() as cursor:
        found = _holders(cursor, what, process) - spared
        for pid in found:
            # False also for one that has just ended by itself; so it is looked again.
            cursor.execute("SELECT pg_terminate_backend(%s, %s)", [pid, _PATIENCE_MS])
        if found and (left := found & _holders(cursor, what, process)):
            raise OperationalError(f"abandoned database sessions have not ended within {_PATIENCE_MS / 1000:g} s: {left}")
    if found:
        logger.warning("%d database sessions were ended that nobody held any more", len(found))


def _holders(cursor: CursorWrapper, what: int, process: int | None) -> set[int]:
    """Return the sessions, but for the cursor's own, that do this in this database, for a process or for any."""
    cursor.execute(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND pid <> pg_backend_pid() "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND (%s OR objid = %s)",
        [what, process is None, process or 0],
    )
    return {pid for (pid,) in cursor.fetchall()}
