"""What protects this process, made from the settings on first use."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db import connection

from scoring.features.shared.state import BREAKER_POLICY
from scoring.hot_settings import hot_settings
from scoring.protection.circuit_breaker import CircuitBreaker
from scoring.protection.clock_watch import ClockWatch
from scoring.protection.concurrency import ConcurrencyLimit
from scoring.protection.disk_watch import DiskWatch
from scoring.protection.rate_limit import RateLimiter
from scoring.protection.refusal_pace import RefusalPace
from scoring.protection.shared_buckets import SharedBuckets, redis_client
from scoring.protection.token_bucket import RateLimit

# A thread waits for the shared buckets for so long at most; the event loop never does.
_STORE_SECONDS = 0.25


class Guards:
    """Limits, breakers and watches of one process.

    Attributes:
        database: the breaker of the commit path.
        redis: the breaker of the shared feature state.
    """

    def __init__(self) -> None:
        self.database = CircuitBreaker("database")
        self.redis = CircuitBreaker("redis", BREAKER_POLICY)
        self.concurrency = ConcurrencyLimit(settings.CONCURRENCY_LIMIT)
        self.refusals = RefusalPace(settings.OVERLOAD_REFUSALS_PER_SECOND)
        self.disk = DiskWatch(_paths(), settings.DISK_FLOOR_BYTES)
        self.clock = ClockWatch(tolerance=settings.CLOCK_STEP_SECONDS, stamp_seconds=settings.CLOCK_STAMP_SECONDS)
        url = settings.RATE_LIMIT_REDIS_URL
        store = SharedBuckets(redis_client(url, _STORE_SECONDS)) if url else None
        self.limiter = RateLimiter(store, processes=settings.RATE_LIMIT_PROCESSES)

    @property
    def breakers(self) -> tuple[CircuitBreaker, ...]:
        return self.database, self.redis

    def look(self) -> None:
        """Look at disk and clock; to be called about once a second, by no event loop."""
        self.disk.look()
        self.clock.look()

    def close(self) -> None:
        self.limiter.close()


def limit_of(rate_per_second: float | None, burst: int | None) -> RateLimit | None:
    """Return the limit of a key whose own figures are these (None: those of the settings); None where there is no limit.

    A burst that is not given is what the rate lets through in a second.
    """
    rate = hot_settings.RATE_LIMIT_PER_SECOND if rate_per_second is None else rate_per_second
    if not rate:
        return None
    return _limit(rate, burst or (hot_settings.RATE_LIMIT_BURST if rate_per_second is None else 0) or max(1.0, rate))


@lru_cache(maxsize=1024)
def _limit(rate: float, burst: float) -> RateLimit:
    return RateLimit(rate, burst)


def _paths() -> list[Path]:
    """Return where decisions, artifacts and metrics are written; a PostgreSQL server watches its own disk."""
    name = str(connection.settings_dict["NAME"])
    is_file = connection.vendor == "sqlite" and not name.startswith(":memory:") and "mode=memory" not in name
    return [settings.DATA_DIR, *([Path(name).parent] if is_file else [])]


_lock = threading.Lock()
_guards: Guards | None = None


def guards() -> Guards:
    """Return this process's guards."""
    global _guards
    found = _guards
    if found is None:
        with _lock:
            if _guards is None:
                _guards = Guards()
            found = _guards
    return found


def discard_guards() -> None:
    """Forget them, so that the next use reads the settings again (the end of a process, and tests)."""
    global _guards
    with _lock:
        if _guards is not None:
            _guards.close()
        _guards = None
