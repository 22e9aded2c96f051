"""One thread owns the engine: requests queue, and what queued while a batch was being committed is the next batch.

It never waits to fill a batch: when idle, a single request goes at once; under load the queue itself forms the batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection

from scoring.database_connection import drop_broken_connection
from scoring.decisions.checkpointer import Checkpointer
from scoring.decisions.engine import DecisionEngine, PendingDecision
from scoring.decisions.ownership import release_database
from scoring.decisions.runtime import get_engine
from scoring.errors import EngineOverloaded, EngineUnavailable

CALL_LIMIT = 256
logger = logging.getLogger(__name__)


@dataclass
class _Group:
    """Requests that came together and are answered together."""

    requests: list[PendingDecision]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future
    results: list = field(default_factory=list)


class EngineThread:
    """Runs a DecisionEngine in a thread of its own, which holds its own database connection."""

    def __init__(self, build: Callable[[], DecisionEngine] = get_engine) -> None:
        self._build = build
        self._engine: DecisionEngine | None = None
        self._failure: str | None = None
        self._groups: deque[_Group] = deque()
        self._calls: deque[tuple[Callable[[DecisionEngine], Any], Future]] = deque()
        self._waiting = 0  # requests in the queue
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # --- for other threads -----------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the engine has been built and takes requests."""
        return self._engine is not None and not self._stopping

    @property
    def stopped(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._stopping

    @property
    def engine(self) -> DecisionEngine | None:
        """The engine, for reading its counters; None until it is ready."""
        return self._engine

    def submit(self, requests: list[PendingDecision]) -> asyncio.Future:
        """Queue requests from a running event loop; the future gives one result a request, in order.

        Raises:
            EngineOverloaded: more than ENGINE_QUEUE_LIMIT requests would wait.
            EngineUnavailable: the engine has stopped.
        """
        loop = asyncio.get_running_loop()
        group = _Group(requests, loop, loop.create_future())
        with self._wake:
            self._refuse_if_stopped()
            if self._waiting + len(requests) > settings.ENGINE_QUEUE_LIMIT:
                if self._engine is not None:
                    self._engine.counters.refused += len(requests)
                raise EngineOverloaded(f"{self._waiting} decisions are waiting already; send this again in a second")
            self._groups.append(group)
            self._waiting += len(requests)
            self._wake.notify()
        return group.future

    def call(self, function: Callable[[DecisionEngine], Any]) -> Future:
        """Run `function(engine)` between two batches and return its future.

        Raises:
            EngineOverloaded: CALL_LIMIT calls wait already.
        """
        future: Future = Future()
        with self._wake:
            self._refuse_if_stopped()
            if len(self._calls) >= CALL_LIMIT:
                raise EngineOverloaded(f"{CALL_LIMIT} dry runs are waiting already; send this again in a second")
            self._calls.append((function, future))
            self._wake.notify()
        return future

    def stop(self, timeout: float = 10.0) -> None:
        """Answer what is queued, then end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)

    def _refuse_if_stopped(self) -> None:
        if self._stopping:
            raise EngineUnavailable(self._failure or "the server is shutting down; send this to another instance or again later")

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        checkpointer = Checkpointer()
        try:
            self._engine = engine = self._build()
            checkpointer.start()
            self._serve(engine)
        except Exception:
            logger.exception("the engine stopped")
            self._failure = "the engine could not start or stopped; its log says why"
        finally:
            self._stopping = True
            self._refuse_all()
            checkpointer.stop()
            release_database()
            connection.close()

    def _serve(self, engine: DecisionEngine) -> None:
        next_refresh = 0.0
        while True:
            with self._wake:
                while not (self._groups or self._calls or self._stopping):
                    if not self._wake.wait(max(0.0, next_refresh - time.monotonic())):
                        break
                batch = self._take()
                # Decisions come first: where some wait, one other call a turn is enough.
                calls = [self._calls.popleft() for _ in range(min(len(self._calls), 1 if batch else 16))]
                if self._stopping and not batch and not calls:
                    return
                engine.counters.queue_depth = self._waiting
            if batch:
                self._decide(engine, batch)
            for function, future in calls:
                _carry_out(engine, function, future)
            if time.monotonic() >= next_refresh:
                _refresh(engine)
                next_refresh = time.monotonic() + settings.ENGINE_REFRESH_SECONDS

    def _take(self) -> list[tuple[_Group, list[PendingDecision]]]:
        """Take up to ENGINE_MAX_BATCH requests in order of arrival; a large group may be taken in parts."""
        room, taken = settings.ENGINE_MAX_BATCH, []
        while self._groups and room:
            group = self._groups[0]
            start = len(group.results) + sum(len(part) for g, part in taken if g is group)
            part = group.requests[start : start + room]
            taken.append((group, part))
            room -= len(part)
            if start + len(part) < len(group.requests):
                break
            self._groups.popleft()
        self._waiting -= sum(len(part) for _, part in taken)
        return taken

    def _decide(self, engine: DecisionEngine, batch: list[tuple[_Group, list[PendingDecision]]]) -> None:
        requests = [request for _, part in batch for request in part]
        try:
            results: list = engine.decide(requests)
        except Exception:
            logger.exception("a batch of %d failed", len(requests))
            results = [EngineUnavailable("the decision failed on our side; nothing was decided, send it again") for _ in requests]
        start, done = 0, {}
        for group, part in batch:
            group.results += results[start : start + len(part)]
            start += len(part)
            if len(group.results) == len(group.requests):
                done.setdefault(group.loop, []).append(group)
        for loop, groups in done.items():
            _deliver(loop, groups)

    def _refuse_all(self) -> None:
        with self._wake:
            groups, calls = list(self._groups), list(self._calls)
            self._groups.clear()
            self._calls.clear()
        error = EngineUnavailable(self._failure or "the server is shutting down; send this again later")
        for group in groups:
            group.results = [error] * len(group.requests)
            _deliver(group.loop, [group])
        for _, future in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


def _deliver(loop: asyncio.AbstractEventLoop, groups: list[_Group]) -> None:
    """Hand results to their event loop: one wake-up for all of them."""
    try:
        loop.call_soon_threadsafe(_resolve, groups)
    except RuntimeError:
        logger.info("the caller of %d decisions is gone; they are stored", len(groups))


def _resolve(groups: list[_Group]) -> None:
    for group in groups:
        if not group.future.done():
            group.future.set_result(group.results)


def _carry_out(engine: DecisionEngine, function: Callable[[DecisionEngine], Any], future: Future) -> None:
    if not future.set_running_or_notify_cancel():
        return  # the caller is gone; a result could not be delivered
    try:
        result = function(engine)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _refresh(engine: DecisionEngine) -> None:
    try:
        drop_broken_connection()
        engine.refresh(wait=False)
    except EngineUnavailable:
        raise  # another process took over
    except Exception:
        logger.exception("refresh failed; the engine goes on with what it has")


_lock = threading.Lock()
_thread: EngineThread | None = None


def engine_thread() -> EngineThread:
    """Return this process's engine thread, started on first use."""
    global _thread
    thread = _thread
    if thread is None or thread.stopped:
        with _lock:
            if _thread is None or _thread.stopped:
                _thread = EngineThread()
            thread = _thread
    return thread


def stop_engine_thread() -> None:
    """Stop the thread, if there is one, after what is queued was answered."""
    global _thread
    with _lock:
        if _thread is not None:
            _thread.stop()
            _thread = None
