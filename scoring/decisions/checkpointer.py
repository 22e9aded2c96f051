"""SQLite's checkpoints away from the decision path.

A commit that fills the write-ahead log copies all of it into the database before it returns: half a second in which every
caller waits. A passive checkpoint from another thread copies what is committed and holds nobody up; but the log begins anew
only when a commit finds all of it copied, which under load never happens by itself. So once the log is long, what came during
the copy is copied as well, and the few pages that came during that while no commit is under way.
"""

from __future__ import annotations

import functools
import logging
import os
import threading

from django.db import DatabaseError, connection

from scoring.background import give_way
from scoring.decisions.shared_store import database_file
from scoring.turns import ledger_turn

# Pages, of the 250,000 at which a commit would copy them itself (wal_autocheckpoint). Look-ups also search the log first.
LONG_LOG_PAGES = 8_192
# Not more often than the log gets long, at the pace of the last time: while the database is synced, commits wait for the disk.
LEAST_SECONDS, MOST_SECONDS = 2.0, 5.0
logger = logging.getLogger(__name__)


class Checkpointer:
    """Runs while the engine does. On PostgreSQL, which has its own, it does nothing."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)

    def start(self) -> None:
        if connection.vendor == "sqlite" and database_file():
            self._thread.start()

    def stop(self) -> None:
        """End after the checkpoint that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        give_way()
        try:
            pause = LEAST_SECONDS
            while not self._stopping.wait(pause):
                try:
                    pause = pause_for(keep_log_short(), pause)
                except (DatabaseError, OSError):
                    # The log grows until a later one succeeds, or a commit does it at wal_autocheckpoint.
                    logger.exception("a checkpoint failed")
        finally:
            connection.close()


def pause_for(pages: int, seconds: float) -> float:
    """Return how long to wait until the log will be long, after it has become `pages` in some seconds."""
    return min(max(seconds * 2.0 * LONG_LOG_PAGES / max(pages, 1), LEAST_SECONDS), MOST_SECONDS)


def keep_log_short() -> int:
    """Copy what is committed into the database, and where the log is long, let the next commit begin it anew; return how many
    pages it had."""
    if (pages := _checkpoint()) < LONG_LOG_PAGES:
        return pages
    # A checkpoint that is overtaken by a commit leaves what it copied unsynced, for the one that no commit may overtake.
    database = _descriptor(str(database_file()))
    os.fsync(database)
    _checkpoint()
    os.fsync(database)
    with ledger_turn():
        _checkpoint()
    return pages


@functools.cache
def _descriptor(path: str) -> int:
    # Never closed: with any descriptor of a file that closes, POSIX lets go of all locks on it that SQLite holds in this process.
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _checkpoint() -> int:
    """Copy what is committed and not yet copied; return how many pages the log holds."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        _busy, pages, _copied = cursor.fetchone()
    return pages


__all__ = ["Checkpointer", "keep_log_short"]
