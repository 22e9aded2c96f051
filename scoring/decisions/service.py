"""The engine of a serving process: built in a thread of its own, which keeps house for it afterwards."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from django.conf import settings
from django.db import connection

from scoring.database_connection import commit_at_leisure, drop_broken_connection
from scoring.decisions.batcher import Batcher, Deliver
from scoring.decisions.checkpointer import Checkpointer
from scoring.decisions.engine import DecisionEngine
from scoring.decisions.ownership import release_database
from scoring.decisions.requests import DecisionRequest
from scoring.decisions.runtime import get_engine
from scoring.engine import Priority
from scoring.errors import EngineUnavailable
from scoring.metrics import close_metrics, observe_second

logger = logging.getLogger(__name__)
_SHUTTING_DOWN = "the server is shutting down; send this to another instance or again later"
_CALL_SECONDS = 60.0
_INDEX_SHARE = 0.2


class EngineService:
    """A batcher with its engine, and the thread that builds the engine and refreshes it while it serves."""

    def __init__(
        self, build: Callable[[], DecisionEngine] = get_engine, observe: Callable[[DecisionEngine], None] = observe_second
    ) -> None:
        self._build, self._observe = build, observe
        self._batcher = Batcher()
        self._stopping = threading.Event()
        self.stopped = False  # it has ended, or is about to
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it has answered what was queued and stores nothing any more: another one may begin."""
        return self.stopped and not self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """Whether the engine has been built and takes requests."""
        return self._batcher.engine is not None and not self.stopped

    @property
    def engine(self) -> DecisionEngine | None:
        """The engine, for reading its counters; None until it is ready."""
        return self._batcher.engine

    def submit(
        self, requests: Sequence[DecisionRequest], priority: Priority = Priority.LIVE, within_us: float | None = None
    ) -> asyncio.Future:
        """See Batcher.submit."""
        return self._batcher.submit(requests, priority, within_us)

    def enqueue(
        self,
        requests: Sequence[DecisionRequest],
        deliver: Deliver,
        priority: Priority,
        within_us: float | None,
        waited_us: float = 0.0,
    ) -> None:
        """See Batcher.enqueue."""
        self._batcher.enqueue(requests, deliver, priority, within_us, waited_us)

    def call(self, function: Callable[[DecisionEngine], Any]) -> Future:
        """See Batcher.call."""
        return self._batcher.call(function)

    def stop(self) -> None:
        """Answer what is queued, then end."""
        self.stopped = True
        self._stopping.set()
        self._batcher.stop(_SHUTTING_DOWN)
        self._thread.join(10)
        if (engine := self._batcher.engine) is not None:
            engine.close()

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        checkpointer = Checkpointer()
        try:
            engine = self._build()
            checkpointer.start()
            self._batcher.start(engine)
            self._keep_house(engine)
        except Exception:
            logger.exception("the engine stopped")
            self.stopped = True
            self._batcher.stop("the engine could not start or stopped; its log says why")
        finally:
            checkpointer.stop()
            close_metrics()
            release_database()
            connection.close()

    def _keep_house(self, engine: DecisionEngine) -> None:
        steps = (
            drop_broken_connection,
            commit_at_leisure,
            lambda: engine.refresh(wait=False, between_batches=self._between_batches, busy_share=_INDEX_SHARE),
            lambda: self._observe(engine),
        )
        while not self._stopping.wait(settings.ENGINE_REFRESH_SECONDS):
            for step in steps:
                try:
                    step()
                except EngineUnavailable:
                    if not self._stopping.is_set():
                        raise  # another process took over
                except Exception:
                    logger.exception("keeping house failed; the engine goes on with what it has")

    def _between_batches(self, act: Callable[[], None]) -> None:
        self._batcher.call(lambda _engine: act()).result(_CALL_SECONDS)


_lock = threading.Lock()
_service: EngineService | None = None


def engine_service() -> EngineService:
    """Return this process's service, started on first use; one that is ending refuses, and then another is started."""
    global _service
    service = _service
    if service is None or service.stopped:
        with _lock:
            if _service is None or _service.has_ended:
                _service = EngineService()
            service = _service
    return service


def stop_engine_service() -> None:
    """Stop the service, if there is one, after what is queued was answered."""
    global _service
    with _lock:
        if _service is not None:
            _service.stop()
            _service = None
