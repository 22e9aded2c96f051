"""Circuit breakers: a dependency that fails is left alone for a while, so that nobody waits for it in vain."""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scoring.errors import CircuitOpen


class BreakerState(enum.IntEnum):
    """In the order of gravity; the metric shows the number."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and closes.

    Attributes:
        window_seconds: how far back calls count.
        min_calls: fewer calls than this in the window open nothing by their share of failures.
        failure_share: the share of failures in the window that opens it.
        failures_in_a_row: so many failures one after the other open it whatever the window holds: a dependency that
            times out is asked too seldom to reach `min_calls`.
        budget_seconds: where given, it also opens when the 99th percentile is above this: when more than one call in a
            hundred took longer. That takes 100 calls in the window; among fewer a single slow one would do it.
        probe_seconds: while it is open, one call is let through this often.
        good_to_close: so many good probes one after the other close it.
        stuck_seconds: a call that `under_way` has been told of and that takes longer than this counts as no answer: none
            is let through while it lasts.
    """

    window_seconds: float = 10.0
    min_calls: int = 20
    failure_share: float = 0.5
    failures_in_a_row: int = 5
    budget_seconds: float | None = None
    probe_seconds: float = 1.0
    good_to_close: int = 5
    stuck_seconds: float = 5.0


_CALLS_FOR_PERCENTILE = 100


class CircuitBreaker:
    """One dependency's breaker; any thread may use it.

    Half open is the state after a probe has come back well: probes go on at the same pace until enough were good, and
    one that fails opens it fully again. The pace bounds what a sick dependency is asked to `1 / probe_seconds` calls.

    Args:
        name: of the dependency, for metrics and messages.
        clock: seconds that never go back.
    """

    def __init__(self, name: str, policy: BreakerPolicy | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.policy = policy or BreakerPolicy()
        self._clock = clock
        self._lock = threading.Lock()
        self._slot_seconds = self.policy.window_seconds / 10
        self._slots: deque[list] = deque()  # [slot number, calls, failures, slow]
        self._state = BreakerState.CLOSED
        self._failures_in_a_row = self._good_in_a_row = 0
        self._next_probe = 0.0
        self._under_way: float | None = None
        self.opened = self.refused = 0

    @property
    def state(self) -> BreakerState:
        return self._state

    def allows(self) -> bool:
        """Return whether a call may go ahead now; each True is followed by one `record`."""
        if self._is_stuck():
            self.refused += 1
            return False
        if self._state is BreakerState.CLOSED:
            return True
        with self._lock:
            now = self._clock()
            if self._state is BreakerState.CLOSED:
                return True
            if now >= self._next_probe:
                self._next_probe = now + self.policy.probe_seconds
                return True
            self.refused += 1
            return False

    def blocked_for(self) -> float:
        """Return for how many seconds nothing that needs the dependency can be done; 0 where it may be tried.

        For a queue before the dependency: unlike `allows` it uses up no probe, which the queue's next call may then be.
        """
        if self._is_stuck():
            return self.policy.probe_seconds
        return self.retry_after() if self._state is BreakerState.OPEN else 0.0

    def under_way(self) -> None:
        """Tell that the one call that there is at a time begins; `record` tells of its end."""
        self._under_way = self._clock()

    def retry_after(self) -> float:
        """Seconds until the next call may go ahead."""
        return 0.0 if self._state is BreakerState.CLOSED else max(0.0, self._next_probe - self._clock())

    def record(self, succeeded: bool, seconds: float = 0.0) -> None:
        """Tell how a call went that `allows` let through."""
        with self._lock:
            now, self._under_way = self._clock(), None
            self._failures_in_a_row = 0 if succeeded else self._failures_in_a_row + 1
            if self._state is BreakerState.CLOSED:
                self._remember(now, succeeded, seconds)
                if self._is_ill(now):
                    self._open(now)
            elif not succeeded:
                self._state, self._good_in_a_row = BreakerState.OPEN, 0
                self._next_probe = now + self.policy.probe_seconds
            else:
                self._state = BreakerState.HALF_OPEN
                self._good_in_a_row += 1
                if self._good_in_a_row >= self.policy.good_to_close:
                    self._state = BreakerState.CLOSED
                    self._slots.clear()

    @contextmanager
    def guarding(self, *failures: type[BaseException]) -> Iterator[None]:
        """Run a block as one call; `failures` that it raises count as its failures, anything else as an answer.

        Raises:
            CircuitOpen: the dependency is being left alone; the block did not run.
        """
        if not self.allows():
            raise CircuitOpen(self.name, self.retry_after())
        began = self._clock()
        succeeded = True
        try:
            yield
        except failures:
            succeeded = False
            raise
        finally:
            self.record(succeeded, self._clock() - began)

    def _is_stuck(self) -> bool:
        began = self._under_way
        return began is not None and self._clock() - began > self.policy.stuck_seconds

    def _remember(self, now: float, succeeded: bool, seconds: float) -> None:
        number = int(now // self._slot_seconds)
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append([number, 0, 0, 0])
        slot = self._slots[-1]
        slot[1] += 1
        slot[2] += not succeeded
        slot[3] += self.policy.budget_seconds is not None and seconds > self.policy.budget_seconds
        while self._slots[0][0] <= number - 10:
            self._slots.popleft()

    def _is_ill(self, now: float) -> bool:
        if self._failures_in_a_row >= self.policy.failures_in_a_row:
            return True
        calls, failures, slow = (sum(slot[i] for slot in self._slots) for i in (1, 2, 3))
        if calls >= self.policy.min_calls and failures >= self.policy.failure_share * calls:
            return True
        return calls >= _CALLS_FOR_PERCENTILE and slow > 0.01 * calls

    def _open(self, now: float) -> None:
        self._state, self._good_in_a_row = BreakerState.OPEN, 0
        self._next_probe = now + self.policy.probe_seconds
        self.opened += 1
