"""A circuit breaker: whoever waits for something that is away waits once a second, not once a batch."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_PAUSE_SECONDS = 0.05
PAUSE_SECONDS = 1.0


class CircuitBreaker:
    """Open after a failure: `allows` is False until a pause is over, then True for one attempt, whose outcome decides.

    The pause after a first failure is short, so that a hiccup costs little; after each further one it is a second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._next_attempt = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    def allows(self) -> bool:
        """Return whether an attempt may be made now."""
        return not self._failures or self._clock() >= self._next_attempt

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        self._next_attempt = self._clock() + (FIRST_PAUSE_SECONDS if self._failures == 1 else PAUSE_SECONDS)
