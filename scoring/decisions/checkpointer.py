"""SQLite's checkpoints away from the decision path.

A commit that fills the write-ahead log copies all of it into the database before it returns: a tenth of a second in which
every caller waits. A passive checkpoint from another thread copies what is committed and holds nobody up.
"""

from __future__ import annotations

import logging
import threading

from django.db import DatabaseError, connection

from scoring.decisions.shared_store import database_file

# Seldom: while one syncs the database, commits wait for the same disk.
INTERVAL_SECONDS = 2.0
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
        try:
            while not self._stopping.wait(INTERVAL_SECONDS):
                self._checkpoint()
        finally:
            connection.close()

    def _checkpoint(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except DatabaseError:
            # The log grows until a later one succeeds, or a commit does it at wal_autocheckpoint.
            logger.exception("a checkpoint failed")
