"""How much may be under way at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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
