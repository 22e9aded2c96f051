"""The thread that holds the decision path's database connection: it looks up and commits while the event loop goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from django.db import InterfaceError, OperationalError, connection

from scoring.database_connection import drop_broken_connection
from scoring.durability import watch_this_thread
from scoring.errors import UnsafeDurability
from scoring.protection.guards import guards

logger = logging.getLogger(__name__)
# What says that the database does not work, and not that what it was asked for does not.
_NO_ANSWER = (OperationalError, InterfaceError, UnsafeDurability)
Then = Callable[[Any, BaseException | None], None]


class DatabaseThread:
    """Runs one function at a time, in order. It ends with `stop`, after what was handed over before."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Then] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def run(self, function: Callable[[], Any], then: Then) -> None:
        """Run `function()` in the thread, and `then(result, error)` behind it, there as well."""
        self._jobs.put((function, then))

    def stop(self, timeout: float = 10.0) -> None:
        """End the thread and close its connection."""
        self._jobs.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        watch_this_thread()
        try:
            while (job := self._jobs.get()) is not None:
                function, then = job
                breaker, began = guards().database, time.monotonic()
                breaker.under_way()
                try:
                    drop_broken_connection()
                    result, error = function(), None
                except BaseException as failure:
                    result, error = None, failure
                breaker.record(not isinstance(error, _NO_ANSWER), time.monotonic() - began)
                try:
                    then(result, error)
                except Exception:
                    logger.exception("a result of the database could not be handed over")
        finally:
            connection.close()
