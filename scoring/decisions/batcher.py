"""The queue before the engine: what came while a batch was being committed is the next batch.

It never waits to fill a batch: when idle, a request goes with whatever the event loop has read in the same turn; under
load the queue itself forms the batch. Scoring runs on the event loop, which it takes microseconds of; looking up and
committing run in the database's thread meanwhile. The engine is one party's at a time: of a batch, or of a call.

What is admitted, what goes first and how large a batch may be is the scheduler's to say (inference_core.scheduling): the
engine is its one unit, whose costs it learns from every batch, commit included.

Callers may come from several event loops (a test, a command); each batch is driven on the loop of its oldest request. A
loop that ends takes with it what was to run on it; the step that holds the engine is then run by the next caller.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from scoring.decisions.database_thread import DatabaseThread
from scoring.decisions.engine import BatchWork, DecisionEngine, DecisionRequest
from scoring.decisions.requests import requests_together, results_in_order
from scoring.decisions.schedule import REDUCED, new_scheduler, tell_saving
from scoring.engine import Dispatch, Priority, Waiting
from scoring.errors import CircuitOpen, DeadlineExceeded, EngineOverloaded, EngineUnavailable, StorageFull
from scoring.histograms import DELIVER
from scoring.hot_settings import hot_settings
from scoring.protection.guards import guards

CALL_LIMIT = 256
# How often a batch in the database is looked at by those who wait for it and behind it.
_OVERDUE_SECONDS = 0.01
# Share of the time that a caller allows which admission leaves for what no forecast sees: the wait in the socket until the
# event loop, busy with a batch, begins to read; a commit that takes longer than most; the way back.
_RESERVE = 1 / 3
logger = logging.getLogger(__name__)


Deliver = Callable[[Sequence], None]


class _Group:
    """Requests that came together and are answered together."""

    __slots__ = ("_parts", "count", "deadline_us", "deliver", "is_answered", "left", "loop", "results")

    def __init__(self, count: int, deliver: Deliver, loop: asyncio.AbstractEventLoop, deadline_us: float) -> None:
        self.deliver, self.loop, self.deadline_us = deliver, loop, deadline_us
        self.left = self.count = count
        self.results: Sequence = ()
        self._parts: list[tuple[int, Sequence]] = []
        self.is_answered = False

    def take_results(self, start: int, results: Sequence) -> bool:
        """Keep the results of a part; return whether that was the last."""
        self.left -= len(results)
        if len(results) == self.count:
            self.results = results
        else:
            self._parts.append((start, results))
            if not self.left:
                self.results = results_in_order(self._parts)
        return not self.left


_Part = tuple[_Group, int, Sequence[DecisionRequest]]  # with where in the group it starts


class Batcher:
    """Forms batches and drives them through an engine, which comes later than the first requests may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scheduler = new_scheduler()
        self._deadlines_us = [self._scheduler.config.deadline_us(of) for of in Priority]
        self._calls: deque[tuple[Callable[[DecisionEngine], Any], Future]] = deque()
        self._busy = True  # until there is an engine
        self._step: tuple[asyncio.AbstractEventLoop, Callable[[], None]] | None = None  # what is to run next, and where
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
        engine.counters.scheduling = self._scheduler.figures
        self._engine = engine
        self._hand_on()

    def submit(
        self, requests: Sequence[DecisionRequest], priority: Priority = Priority.LIVE, within_us: float | None = None
    ) -> asyncio.Future:
        """As `enqueue`; the future gives the results."""
        future = asyncio.get_running_loop().create_future()
        self.enqueue(requests, partial(set_result, future), priority, within_us)
        return future

    def enqueue(
        self,
        requests: Sequence[DecisionRequest],
        deliver: Deliver,
        priority: Priority = Priority.LIVE,
        within_us: float | None = None,
        waited_us: float = 0.0,
    ) -> None:
        """Queue requests from a running event loop, on which `deliver` is called with one result a request, in order.

        Args:
            within_us: how long the caller waits for an answer, microseconds; None for what its class usually has.
            waited_us: how much of that is over, as they waited to be read.

        Raises:
            EngineOverloaded: they could not be answered in time, or more than ENGINE_QUEUE_LIMIT would wait.
            EngineUnavailable: the engine has stopped.
        """
        loop, scheduler, now, count = asyncio.get_running_loop(), self._scheduler, _now_us(), len(requests)
        if within_us is None:
            within_us = self._deadlines_us[priority]
        deadline = now - waited_us + within_us
        group = _Group(count, deliver, loop, deadline)
        with self._lock:
            self._refuse_if_stopped()
            self._refuse_what_cannot_be_stored(count)
            self._admit(priority, count, deadline - _RESERVE * within_us, now)
            most = scheduler.config.max_batch_size
            if count <= most:
                scheduler.queue.put(priority, (group, 0, requests), count, now, deadline)
            else:
                for start in range(0, count, most):
                    part = requests[start : start + most]
                    scheduler.queue.put(priority, (group, start, part), len(part), now, deadline)
            step = self._lost_step() if self._busy else self._drive
            self._busy = True
        if step is not None:
            self.run_on(loop, step)

    def _refuse_what_cannot_be_stored(self, count: int) -> None:
        guard = guards()
        try:
            guard.disk.refuse_if_full()
            if (wait := guard.database.blocked_for()) > 0:
                raise CircuitOpen(guard.database.name, wait)
        except EngineUnavailable as error:
            if self._engine is not None:
                self._engine.counters.count_shed("storage" if isinstance(error, StorageFull) else "breaker", count)
            raise

    def _admit(self, priority: Priority, count: int, until: float, now: float) -> None:
        scheduler = self._scheduler
        if scheduler.queue.total + count > hot_settings.ENGINE_QUEUE_LIMIT:
            reason, retry_after = f"{scheduler.queue.total} decisions are waiting already", 1.0
        elif refusal := scheduler.admit(priority, count, until, now):
            reason, retry_after = refusal
        else:
            return
        if self._engine is not None:
            self._engine.counters.count_shed("overloaded", count)
        raise EngineOverloaded(f"{reason}; send this again later", retry_after)

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
            step = self._lost_step() if self._busy else self._hand_on
            self._busy = True
        if step is not None:
            step()
        return future

    def stop(self, reason: str, *, drain_seconds: float = 10.0) -> None:
        """Take nothing new, let what is queued be answered, and refuse what is left then."""
        with self._lock:
            self._stopped = reason
            lost = self._lost_step()
        if lost is not None:
            lost()
        with self._lock:
            if self._engine is not None:
                self._idle.wait_for(lambda: not (self._busy or self._scheduler.queue.total or self._calls), drain_seconds)
            left = [waiting.item for waiting in self._take_everything()]
            calls = list(self._calls)
            self._calls.clear()
        error = EngineUnavailable(reason)
        _deliver([group for group, start, part in left if group.take_results(start, [error] * len(part))])
        for _, future in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        self._database.stop()

    def _refuse_if_stopped(self) -> None:
        if self._stopped is not None:
            raise EngineUnavailable(self._stopped)

    def _take_everything(self) -> list[Waiting]:
        queue, found = self._scheduler.queue, []
        while queue.total:
            found += queue.take(queue.rows, -math.inf)[0]  # whose deadline has passed is not left out here
        return found

    # --- steps on event loops ------------------------------------------------------------------------------------------

    def run_on(self, loop: asyncio.AbstractEventLoop, step: Callable[[], None], delay: float = 0.0) -> bool:
        """Have `loop` run a step of whoever holds the engine, now or after some seconds; False where the loop has ended."""
        self._step = mine = loop, step
        try:
            if _running_loop() is not loop:
                loop.call_soon_threadsafe(self._run_step)
            elif delay:
                loop.call_later(delay, self._run_step)
            else:
                loop.call_soon(self._run_step)
        except RuntimeError:
            with self._lock:
                if self._step is mine:  # else the next caller has found it already
                    self._step = None
                    return False
        return True

    def _run_step(self) -> None:
        (_, step), self._step = self._step, None
        step()

    def _lost_step(self) -> Callable[[], None] | None:
        """Take over the step that a loop was to run and, having ended, never will; the lock is held."""
        if self._step is None or not self._step[0].is_closed():
            return None
        (_, step), self._step = self._step, None
        return step

    # --- between two batches -------------------------------------------------------------------------------------------

    def _hand_on(self) -> None:
        """Give the engine, which this thread holds, to the next: one call, a batch, or nobody."""
        while True:
            with self._lock:
                call = self._calls.popleft() if self._calls else None
                loop = self._next_loop()
                if call is None and loop is None:
                    self._busy = False
                    self._idle.notify_all()
                    return
            if call is not None:
                _carry_out(self._engine, *call)
            # Decisions come first: where some wait, one call a turn is enough.
            if loop is not None:
                if self.run_on(loop, self._drive):
                    return
                self._drop_callers_of(loop)

    def _next_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the event loop of what has waited longest in the most urgent class."""
        for priority in Priority:
            if (head := self._scheduler.queue.head(priority)) is not None:
                return head.item[0].loop
        return None

    def _drop_callers_of(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            gone = 0
            for waiting in self._take_everything():
                if waiting.item[0].loop is loop:
                    gone += waiting.rows
                else:
                    self._scheduler.queue.put(
                        waiting.priority, waiting.item, waiting.rows, waiting.arrived_us, waiting.deadline_us
                    )
        logger.info("the callers of %d requests are gone; nothing was decided on them", gone)

    # --- one batch -----------------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        """Take a batch through the engine, from this event loop."""
        now = _now_us()
        with self._lock:
            tell_saving(self._scheduler, self._engine.saved_row_us)
            dispatch = self._scheduler.next(now)
            taken, late = self._scheduler.start(dispatch, now) if dispatch is not None else ([], [])
            engine, waiting = self._engine, self._scheduler.queue.total
            wake_us = self._scheduler.wake_us if dispatch is None and waiting else 0.0
        if late:
            self._refuse_late([of.item for of in late])
        if not taken and wake_us > now:  # the policy holds work back for a moment, to fill a batch
            if (loop := _running_loop()) is not None:
                self.run_on(loop, self._drive, (wake_us - now) / 1e6)
            else:  # a step that was lost, and nobody's loop to wait on
                self._hand_on()
            return
        if not taken:
            self._hand_on()
            return
        engine.counters.queue_depth = waiting
        engine.counters.queue_age.observe_all([(now - of.arrived_us) / 1e6 for of in taken], [of.rows for of in taken])
        engine.counters.batch_rows.observe(dispatch.rows)
        _Drive(self, engine, self._database, dispatch, [of.item for of in taken]).begin()

    def refuse_overdue(self, in_flight: list[_Part]) -> None:
        """Answer those behind a batch that the database keeps for too long, and those in it whose deadline has passed."""
        now = _now_us()
        with self._lock:
            late = self._scheduler.take_late(now)
        self._refuse_late([of.item for of in late])
        for group, _, _ in in_flight:
            if group.deadline_us <= now and not group.is_answered:
                group.is_answered = True
                self._engine.counters.count_shed("deadline", group.count)
                _call(group.loop, group.deliver, [DeadlineExceeded(is_known=False)] * group.count)

    def _refuse_late(self, parts: list[_Part]) -> None:
        error = DeadlineExceeded()
        self._engine.counters.count_shed("deadline", sum(len(part) for _, _, part in parts))
        _deliver([group for group, start, part in parts if group.take_results(start, [error] * len(part))], _running_loop())

    def completed(self, dispatch: Dispatch, began_us: float, ok: bool) -> None:
        """Learn what a batch cost, and hand the engine on."""
        with self._lock:
            self._scheduler.completed(dispatch, began_us, _now_us(), ok)
        self._hand_on()


def _now_us() -> float:
    return time.monotonic_ns() / 1000


class _Drive:
    """One batch on its way; each step names the next, on the event loop or in the database's thread."""

    def __init__(
        self, batcher: Batcher, engine: DecisionEngine, database: DatabaseThread, dispatch: Dispatch, taken: list[_Part]
    ) -> None:
        self._batcher, self._engine, self._database, self._taken = batcher, engine, database, taken
        self._dispatch, self._began_us = dispatch, _now_us()
        self._loop = taken[0][0].loop
        self._work: BatchWork | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._guarded(self._begin, requests_together([part for _, _, part in self._taken]))

    def _begin(self, requests: Sequence[DecisionRequest]) -> None:
        self._work = work = self._engine.begin(requests, self._dispatch.variant == REDUCED)
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
            self._answer(self._work.results, ok=error is None)
        else:  # somebody else stored one of these ids meanwhile: once more, looking all of them up
            self._in_database(self._engine.look_up, self._looked_up)

    def _in_database(self, step: Callable[[BatchWork], Any], then: Callable[[Any, BaseException | None], None]) -> None:
        work = self._work
        self._watch_deadlines()

        def behind(result: Any, error: BaseException | None) -> None:
            if not self._batcher.run_on(self._loop, lambda: self._guarded(then, result, error)):
                self._guarded(then, result, error)  # that loop has ended; the batch has not

        self._database.run(lambda: step(work), behind)

    def _watch_deadlines(self) -> None:
        """See to it that nobody waits beyond a deadline for a database that does not come back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if _running_loop() is self._loop:
            self._timer = self._loop.call_later(_OVERDUE_SECONDS, self._answer_overdue)

    def _answer_overdue(self) -> None:
        self._batcher.refuse_overdue(self._taken)
        self._timer = self._loop.call_later(_OVERDUE_SECONDS, self._answer_overdue)

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
            self._answer([error] * sum(len(part) for _, _, part in self._taken), ok=False)

    def _answer(self, results: Sequence, *, ok: bool = True) -> None:
        if self._timer is not None:
            self._timer.cancel()
        began, place, done = time.perf_counter(), 0, []
        for group, start, part in self._taken:
            end = place + len(part)
            if group.take_results(start, results if len(self._taken) == 1 else results[place:end]):
                done.append(group)
            place = end
        _deliver(done, self._loop)
        self._engine.counters.stages.observe(DELIVER, time.perf_counter() - began, place)
        self._batcher.completed(self._dispatch, self._began_us, ok)


def _deliver(groups: list[_Group], here: asyncio.AbstractEventLoop | None = None) -> None:
    """Hand results to their event loops: one wake-up a loop. `here` is the loop that may be running this."""
    loops = {group.loop for group in groups}
    for loop in loops:
        of_loop = groups if len(loops) == 1 else [group for group in groups if group.loop is loop]
        if loop is here and _running_loop() is loop:
            _resolve(of_loop)
        elif not _call(loop, _resolve, of_loop):
            logger.info("the callers of %d requests are gone; what was decided is stored", len(of_loop))


def _call(loop: asyncio.AbstractEventLoop, function: Callable, *arguments: Any) -> bool:
    """Call a function on a loop, whoever runs it; False where it has ended."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return False
    return True


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _resolve(groups: list[_Group]) -> None:
    for group in groups:
        if not group.is_answered:
            group.is_answered = True
            try:
                group.deliver(group.results)
            except Exception:  # the others of its batch wait for theirs
                logger.exception("an answer could not be handed over")


def set_result(future: asyncio.Future, results: list) -> None:
    """Resolve a future that a coroutine waits on."""
    if not future.done():  # else its caller has gone
        future.set_result(results)


def _carry_out(engine: DecisionEngine, function: Callable[[DecisionEngine], Any], future: Future) -> None:
    if not future.set_running_or_notify_cancel():
        return  # the caller is gone; a result could not be delivered
    try:
        result = function(engine)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


__all__ = ["Batcher", "Deliver", "set_result"]
