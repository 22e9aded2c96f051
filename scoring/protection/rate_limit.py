"""Rate limits by caller, that never make the event loop wait.

Each process decides from its own buckets. Where several share limits, a bucket here holds this process's share of what
Redis said last (tokens / processes, with the rate and the burst divided alike), a thread books what was spent and fetches
the new level every SYNC_SECONDS, and so what all grant together is at most what is there: the shares add up to the level.
To that comes one exception: a caller's first request since the last exchange may use the whole level, so that a limit
smaller than the number of processes still lets requests in. It is booked as a debt, so the rate holds over time.

When Redis does not answer, the shares simply are not refreshed: each process goes on with its share of the rate.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis

from scoring.protection.shared_buckets import Booking, SharedBuckets
from scoring.protection.token_bucket import RateLimit, RateVerdict, TokenBucket, verdict_of

logger = logging.getLogger(__name__)

SYNC_SECONDS = 0.02
# After a failed exchange; meanwhile each process has its share.
RETRY_SECONDS = 1.0
# A caller that was quiet for this long is left out of the exchanges until it comes again.
IDLE_SECONDS = 1.0
BUCKETS_A_CALL = 500
MAX_CALLERS = 20_000


@dataclass(slots=True)
class _Share:
    """This process's part of a caller's bucket. `spent` is what Redis has not been told yet."""

    limit: RateLimit
    processes: int
    bucket: TokenBucket
    spent: float = 0.0


class RateLimiter:
    """Buckets of all callers; any thread may use it.

    Args:
        store: the shared buckets; None where this process is the only one.
        processes: how many share the limits, until Redis has said so.
        clock: seconds that never go back.
    """

    def __init__(
        self, store: SharedBuckets | None = None, *, processes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._processes = processes if store is not None else 1
        self._clock = clock
        self._shares: dict[str, _Share] = {}
        self._active: dict[str, float] = {}  # caller -> when it was last here; what the next exchange is about
        self._lock = threading.Lock()
        self._work, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.store_answers = store is not None
        self.granted = self.refused = self.failed_exchanges = 0

    @property
    def is_shared(self) -> bool:
        return self._store is not None

    @property
    def processes(self) -> int:
        """How many processes share the limits, as far as is known."""
        return self._processes

    def take(self, caller: str, limit: RateLimit, count: float = 1.0) -> RateVerdict:
        """Take tokens from this process's share, in microseconds."""
        with self._lock:
            verdict = self._take(caller, limit, count)
        self._ask_for_exchange()
        return verdict

    def take_now(self, caller: str, limit: RateLimit, count: float = 1.0) -> RateVerdict:
        """Take tokens from the shared bucket in one atomic call, or like `take` where Redis does not answer.

        For threads that may wait some milliseconds, and limits that must hold to the last token.
        """
        if self._store is None or not self.store_answers:
            return self.take(caller, limit, count)
        try:
            processes, (found,) = self._store.book([Booking(caller, limit.rate, limit.burst, 0.0, count)])
        except (redis.RedisError, OSError) as error:
            self._note_failure(error)
            return self.take(caller, limit, count)
        with self._lock:
            self._processes = max(1, processes)
            self._count(found.granted)
        return verdict_of(limit, found.tokens, found.granted, count)

    def give_back(self, caller: str, limit: RateLimit, count: float = 1.0) -> None:
        """Return tokens that were taken for nothing."""
        with self._lock:
            share = self._share_of(caller, limit)
            share.bucket.tokens = min(share.bucket.limit.burst, share.bucket.tokens + count)
            if self._store is not None:
                share.spent -= count
                self._active[caller] = self._clock()
        self._ask_for_exchange()

    def exchange(self) -> None:
        """Tell Redis what was spent and learn the new levels: what the thread does every SYNC_SECONDS.

        Raises:
            redis.RedisError: it did not answer; nothing is lost, the shares go on.
        """
        if self._store is None:
            return
        with self._lock:
            told = [(caller, share, share.spent) for caller in self._active if (share := self._shares.get(caller)) is not None]
        parts = [told[start : start + BUCKETS_A_CALL] for start in range(0, len(told), BUCKETS_A_CALL)]
        if not parts and not self.store_answers:
            parts = [[]]  # asks whether it is back
        for part in parts:
            processes, levels = self._store.book([Booking(c, s.limit.rate, s.limit.burst, spent) for c, s, spent in part])
            with self._lock:
                self._processes = max(1, processes)
                for (_, share, spent), level in zip(part, levels, strict=True):
                    share.spent -= spent
                    self._divide(share, level.tokens)
        if not self.store_answers:
            logger.info("the store of the rate limits answers again")
            self.store_answers = True
        with self._lock:
            self._leave_out_the_quiet()

    def close(self) -> None:
        """Stop the thread, after what was spent has been told."""
        self._stop.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join(2.0)
        if self._store is not None:
            self._store.close()

    # --- under the lock --------------------------------------------------------------------------------------------

    def _take(self, caller: str, limit: RateLimit, count: float) -> RateVerdict:
        share, now = self._share_of(caller, limit), self._clock()
        bucket = share.bucket
        bucket.refill(now)
        # With the store at hand a large batch waits for the level that it needs; without, for a full share.
        need = min(count, limit.burst if self.store_answers else bucket.limit.burst)
        allowed = bucket.tokens >= need
        if not allowed and self.store_answers and share.spent <= 0:
            # The first since the last exchange: what the others hold is there as well, as far as is known.
            allowed = bucket.tokens * share.processes >= need
        if allowed:
            bucket.tokens -= count
        if self._store is not None:
            share.spent += count if allowed else 0.0
            self._active[caller] = now
        self._count(allowed)
        return verdict_of(limit, bucket.tokens * share.processes, allowed, count)

    def _share_of(self, caller: str, limit: RateLimit) -> _Share:
        share = self._shares.get(caller)
        if share is None or share.limit != limit:
            self._make_room()
            share = self._shares[caller] = _Share(limit, 0, TokenBucket(limit, self._clock()))
            self._divide(share, limit.burst)
        return share

    def _divide(self, share: _Share, level: float) -> None:
        """Give this process its part of a level, less what it has spent of that already."""
        processes, limit, now = self._processes, share.limit, self._clock()
        if share.processes != processes:
            # A share below one token could never be taken, so it may fill up to one.
            part = RateLimit(limit.rate / processes, max(1.0, limit.burst / processes))
            share.bucket, share.processes = TokenBucket(part, now), processes
        share.bucket.at = now
        share.bucket.tokens = level / processes - share.spent

    def _make_room(self) -> None:
        """Look at the two oldest callers for each new one: a full bucket says no more than none at all."""
        if len(self._shares) < MAX_CALLERS // 2:
            return
        now = self._clock()
        for caller in list(itertools.islice(self._shares, 2)):
            share = self._shares.pop(caller)
            share.bucket.refill(now)
            is_full = share.spent == 0 and share.bucket.tokens >= share.bucket.limit.burst
            if not is_full and len(self._shares) < MAX_CALLERS - 1:
                self._shares[caller] = share

    def _leave_out_the_quiet(self) -> None:
        now = self._clock()
        for caller, at in list(self._active.items()):
            share = self._shares.get(caller)
            if share is None or (share.spent == 0 and now - at > IDLE_SECONDS):
                del self._active[caller]

    def _count(self, allowed: bool) -> None:
        if allowed:
            self.granted += 1
        else:
            self.refused += 1

    # --- the thread ------------------------------------------------------------------------------------------------

    def _ask_for_exchange(self) -> None:
        if self._store is None or self._work.is_set():
            return
        self._work.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stop.is_set():
                    self._thread = threading.Thread(target=self._run, name="rate-limits", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._work.wait()
            self._stop.wait(SYNC_SECONDS if self.store_answers else RETRY_SECONDS)
            # Cleared before the exchange: what is spent during it sets it again.
            self._work.clear()
            self._exchange_or_note()
            if self._active:
                self._work.set()

    def _exchange_or_note(self) -> None:
        try:
            self.exchange()
        except (redis.RedisError, OSError) as error:
            self._note_failure(error)
        except Exception:
            # A thread that ended would leave the shares as they are for ever, and nobody would know.
            logger.exception("the exchange of rate limits failed")
            self.store_answers = False

    def _note_failure(self, error: Exception) -> None:
        self.failed_exchanges += 1
        if self.store_answers:
            logger.warning("the store of the rate limits does not answer (%s); each process has its share", type(error).__name__)
        self.store_answers = False
