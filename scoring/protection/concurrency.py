"""How much may be under way at once, and how much of the work may be repetition."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scoring.errors import TooManyInFlight


class ConcurrencyLimit:
    """At most `limit` at once; 0 is no limit. For one event loop, or with the interpreter's lock, any thread.

    Nobody queues here: what does not fit is refused at once, for a queue only moves the wait to where no deadline sees it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = self.refused = 0
        self._lock = threading.Lock()

    def enter(self, count: int = 1) -> bool:
        """Begin `count` pieces of work, which `leave` ends; False where that would be too many.

        A batch above the limit is let in when nothing else is under way: it could never run otherwise.
        """
        with self._lock:
            if self.limit and self.in_flight and self.in_flight + count > self.limit:
                self.refused += count
                return False
            self.in_flight += count
            return True

    def leave(self, count: int = 1) -> None:
        """End what `enter` began."""
        with self._lock:
            self.in_flight -= count

    @contextmanager
    def holding(self, count: int = 1) -> Iterator[None]:
        """Run a block as `count` pieces of work.

        Raises:
            TooManyInFlight: they do not fit.
        """
        if not self.enter(count):
            raise TooManyInFlight(self.limit)
        try:
            yield
        finally:
            self.leave(count)


class RetryBudget:
    """Retries are at most a share of the calls of the last seconds, so that they cannot multiply a failure.

    Args:
        share: retries per call.
        least: retries that are free in each window, for a service that is seldom called.
        window_seconds: how far back calls and retries count.
    """

    def __init__(
        self, share: float = 0.1, *, least: int = 3, window_seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share, self._least, self._window, self._clock = share, least, window_seconds, clock
        self._slots: deque[list] = deque()  # [slot number, calls, retries]
        self._lock = threading.Lock()
        self.retries = self.denied = 0

    def note_call(self, count: int = 1) -> None:
        """Count first attempts."""
        with self._lock:
            self._slot()[1] += count

    def may_retry(self) -> bool:
        """Return whether one more retry fits, and count it if so."""
        with self._lock:
            slot = self._slot()
            calls, retries = (sum(s[i] for s in self._slots) for i in (1, 2))
            if retries + 1 > max(self._least, self._share * calls):
                self.denied += 1
                return False
            slot[2] += 1
            self.retries += 1
            return True

    def _slot(self) -> list:
        number = int(self._clock() // (self._window / 10))
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append([number, 0, 0])
        while self._slots[0][0] <= number - 10:
            self._slots.popleft()
        return self._slots[-1]


def full_jitter(attempt: int, *, base: float = 0.01, longest: float = 1.0, rng: random.Random | None = None) -> float:
    """Return how long to wait before retry `attempt` (0 is the first): anywhere up to base x 2^attempt seconds.

    Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: spread over the whole interval, callers
    that failed together do not come back together.
    """
    return (rng or random).uniform(0.0, min(longest, base * 2**attempt))
