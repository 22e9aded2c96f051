"""How soon a connection is listened to again that was just refused something in an overload.

A refusal is told at once, and a client that takes no notice of Retry-After sends its next request at once; reading and
refusing that costs a good part of what a decision costs. Unbounded, the refusals of some thousand connections take all the
time there is, and nobody is decided on. So of connections that were refused so many a second are listened to again, in order;
the others rest. What they send meanwhile waits in their sockets and costs nothing, and one client that opens more
connections gets no more of the server's time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from scoring.protection.token_bucket import RateLimit, TokenBucket

# How many may be refused after a quiet time before one rests, in seconds of the rate; and how often those that rest are
# looked at.
_BURST_SECONDS, _STEP_SECONDS = 0.05, 0.005


class RefusalPace:
    """At most `rate` connections a second are listened to again; 0 is no limit. For one event loop at a time.

    Attributes:
        resting: connections that are not listened to.
    """

    def __init__(self, rate: float) -> None:
        self._limit = RateLimit(rate, max(1.0, rate * _BURST_SECONDS)) if rate else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def resting(self) -> int:
        return len(self._waiting)

    def has_to_rest(self, listen: Callable[[], None]) -> bool:
        """Say whether a connection that was refused has to rest; if so, the running event loop calls `listen` when it is over."""
        if self._limit is None:
            return False
        loop = self._here()
        if not self._waiting and self._bucket.take(1, loop.time()):
            return False
        self._waiting.append(listen)
        if len(self._waiting) == 1:
            loop.call_later(_STEP_SECONDS, self._go_on, loop)
        return True

    def count(self) -> None:
        """Count a refusal whose connection need not rest; the others rest the longer."""
        if self._limit is not None:
            self._here()
            self._bucket.tokens -= 1.0

    def _here(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what rested on another one has gone with it
            self._loop, self._bucket = loop, TokenBucket(self._limit, loop.time())
            self._waiting.clear()
        return loop

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        while self._waiting and self._bucket.take(1, loop.time()):
            self._waiting.popleft()()
        if self._waiting:
            loop.call_later(_STEP_SECONDS, self._go_on, loop)
