"""The queue before the engine: what came while a batch was being committed is the next batch.

It never waits to fill a batch: when idle, a request goes with whatever the event loop has read in the same turn; under
load the queue itself forms the batch. Scoring runs on the event loop, which it takes microseconds of; looking up and
committing run in the database's thread meanwhile. The engine is one party's at a time: of a batch, or of a call.

Callers may come from several event loops (a test, a command); each batch is driven on the loop of its oldest request.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from django.conf import settings

from scoring.decisions.database_thread import DatabaseThread
from scoring.decisions.engine import BatchWork, DecisionEngine, DecisionRequest
from scoring.errors import EngineOverloaded, EngineUnavailable

CALL_LIMIT = 256
logger = logging.getLogger(__name__)


class _Group:
    """Requests that came together and are answered together."""

    __slots__ = ("future", "loop", "requests", "results", "taken")

    def __init__(self, requests: Sequence[DecisionRequest], loop: asyncio.AbstractEventLoop, future: asyncio.Future) -> None:
        self.requests, self.loop, self.future = requests, loop, future
        self.results: list = []
        self.taken = 0


class Batcher:
    """Forms batches and drives them through an engine, which comes later than the first requests may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: deque[_Group] = deque()
        self._calls: deque[tuple[Callable[[DecisionEngine], Any], Future]] = deque()
        self._waiting = 0  # requests in the queue
        self._busy = True  # until there is an engine
        self._engine: DecisionEngine | None = None
        self._database = DatabaseThread()
        self._stopped: str | None = None
        self._idle = threading.Condition(self._lock)

    # --- for any thread ----------------------------------------------------------------------------------------------

    @property
    def engine(self) -> DecisionEngine | None:
        """The engine, for reading its counters; None until there is one."""
        return self._engine

    def start(self, engine: DecisionEngine) -> None:
        """Give the engine, which from now on belongs to the batches and calls."""
        self._engine = engine
        self._hand_on()

    def submit(self, requests: Sequence[DecisionRequest]) -> asyncio.Future:
        """Queue requests from a running event loop; the future gives one result a request, in order.

        Raises:
            EngineOverloaded: more than ENGINE_QUEUE_LIMIT requests would wait.
            EngineUnavailable: the engine has stopped.
        """
        loop = asyncio.get_running_loop()
        group = _Group(requests, loop, loop.create_future())
        count = len(requests)
        with self._lock:
            self._refuse_if_stopped()
            if self._waiting + count > settings.ENGINE_QUEUE_LIMIT:
                if self._engine is not None:
                    self._engine.counters.refused += count
                raise EngineOverloaded(f"{self._waiting} decisions are waiting already; send this again in a second")
            self._groups.append(group)
            self._waiting += count
            start = not self._busy
            if start:
                self._busy = True
        if start:
            loop.call_soon(self._drive)
        return group.future

    def call(self, function: Callable[[DecisionEngine], Any]) -> Future:
        """Run `function(engine)` between two batches and return its future; at once, in this thread, when idle.

        Raises:
            EngineOverloaded: CALL_LIMIT calls wait already.
            EngineUnavailable: the engine has stopped.
        """
        future: Future = Future()
        with self._lock:
            self._refuse_if_stopped()
            if len(self._calls) >= CALL_LIMIT:
                raise EngineOverloaded(f"{CALL_LIMIT} calls are waiting already; send this again in a second")
            self._calls.append((function, future))
            start = not self._busy
            if start:
                self._busy = True
        if start:
            self._hand_on()
        return future

    def stop(self, reason: str, *, drain_seconds: float = 10.0) -> None:
        """Take nothing new, let what is queued be answered, and refuse what is left then."""
        with self._lock:
            self._stopped = reason
            if self._engine is not None:
                self._idle.wait_for(lambda: not (self._busy or self._groups or self._calls), drain_seconds)
            groups, calls = list(self._groups), list(self._calls)
            self._groups.clear()
            self._calls.clear()
            self._waiting = 0
        error = EngineUnavailable(reason)
        for group in groups:
            group.results = [error] * len(group.requests)
        _deliver(groups)
        for _, future in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        self._database.stop()

    def _refuse_if_stopped(self) -> None:
        if self._stopped is not None:
            raise EngineUnavailable(self._stopped)

    # --- between two batches -------------------------------------------------------------------------------------------

    def _hand_on(self) -> None:
        """Give the engine, which this thread holds, to the next: one call, a batch, or nobody."""
        while True:
            with self._lock:
                call = self._calls.popleft() if self._calls else None
                loop = self._groups[0].loop if self._groups else None
                if call is None and loop is None:
                    self._busy = False
                    self._idle.notify_all()
                    return
            if call is not None:
                _carry_out(self._engine, *call)
            # Decisions come first: where some wait, one call a turn is enough.
            if loop is not None and self._drive_on(loop):
                return

    def _drive_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        if _running_loop() is loop:
            loop.call_soon(self._drive)
            return True
        try:
            loop.call_soon_threadsafe(self._drive)
        except RuntimeError:
            self._drop_callers_of(loop)
            return False
        return True

    def _drop_callers_of(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            gone = [group for group in self._groups if group.loop is loop]
            self._groups = deque(group for group in self._groups if group.loop is not loop)
            self._waiting -= sum(len(group.requests) - group.taken for group in gone)
        logger.info("the callers of %d requests are gone; nothing was decided on them", len(gone))

    def _take(self) -> list[tuple[_Group, Sequence[DecisionRequest]]]:
        """Take up to ENGINE_MAX_BATCH requests in order of arrival; a large group may be taken in parts."""
        room, taken = settings.ENGINE_MAX_BATCH, []
        with self._lock:
            while self._groups and room:
                group = self._groups[0]
                part = group.requests
                if group.taken or len(part) > room:
                    part = part[group.taken : group.taken + room]
                taken.append((group, part))
                group.taken += len(part)
                room -= len(part)
                if group.taken < len(group.requests):
                    break
                self._groups.popleft()
            self._waiting -= sum(len(part) for _, part in taken)
            if self._engine is not None:
                self._engine.counters.queue_depth = self._waiting
        return taken

    # --- one batch -----------------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        """Take a batch through the engine, from this event loop."""
        taken = self._take()
        if not taken:
            self._hand_on()
            return
        _Drive(self, self._engine, self._database, taken).begin()


class _Drive:
    """One batch on its way; each step names the next, on the event loop or in the database's thread."""

    def __init__(self, batcher: Batcher, engine: DecisionEngine, database: DatabaseThread, taken: list) -> None:
        self._batcher, self._engine, self._database, self._taken = batcher, engine, database, taken
        self._loop = taken[0][0].loop
        self._work: BatchWork | None = None

    def begin(self) -> None:
        requests = self._taken[0][1] if len(self._taken) == 1 else [r for _, part in self._taken for r in part]
        self._guarded(self._begin, requests)

    def _begin(self, requests: Sequence[DecisionRequest]) -> None:
        self._work = work = self._engine.begin(requests)
        if work.must_look_up:
            self._in_database(self._engine.look_up, self._looked_up)
        else:
            self._prepare()

    def _looked_up(self, _result: Any, error: BaseException | None) -> None:
        if error is not None:
            self._finish(None, error)
        else:
            self._prepare()

    def _prepare(self) -> None:
        self._engine.prepare(self._work)
        if self._work.rows is None:
            self._finish(None, None)
        else:
            self._in_database(self._engine.commit, self._finish)

    def _finish(self, _result: Any, error: BaseException | None) -> None:
        if self._engine.finish(self._work, error):
            self._answer(self._work.results)
        else:  # somebody else stored one of these ids meanwhile: once more, looking all of them up
            self._in_database(self._engine.look_up, self._looked_up)

    def _in_database(self, step: Callable[[BatchWork], Any], then: Callable[[Any, BaseException | None], None]) -> None:
        work = self._work

        def behind(result: Any, error: BaseException | None) -> None:
            try:
                self._loop.call_soon_threadsafe(self._guarded, then, result, error)
            except RuntimeError:  # that loop has ended; the batch has not
                self._guarded(then, result, error)

        self._database.run(lambda: step(work), behind)

    def _guarded(self, step: Callable, *arguments: Any) -> None:
        """Run a step; whatever fails unexpectedly is answered, and the engine goes on to the next."""
        try:
            step(*arguments)
        except Exception:
            logger.exception("a batch failed")
            try:
                if self._work is not None:
                    self._engine.abandon(self._work)
            except Exception:
                logger.exception("a failed batch could not be taken back")
            error = EngineUnavailable("the decision failed on our side; nothing was decided, send it again")
            self._answer([error] * sum(len(part) for _, part in self._taken))

    def _answer(self, results: Sequence) -> None:
        start, done = 0, []
        for group, part in self._taken:
            end = start + len(part)
            group.results += results[start:end]
            start = end
            if len(group.results) == len(group.requests):
                done.append(group)
        _deliver(done, self._loop)
        self._batcher._hand_on()


def _deliver(groups: list[_Group], here: asyncio.AbstractEventLoop | None = None) -> None:
    """Hand results to their event loops: one wake-up a loop. `here` is the loop that may be running this."""
    loops = {group.loop for group in groups}
    for loop in loops:
        of_loop = groups if len(loops) == 1 else [group for group in groups if group.loop is loop]
        if loop is here and _running_loop() is loop:
            _resolve(of_loop)
            continue
        try:
            loop.call_soon_threadsafe(_resolve, of_loop)
        except RuntimeError:
            logger.info("the callers of %d requests are gone; what was decided is stored", len(of_loop))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


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


__all__ = ["Batcher"]
