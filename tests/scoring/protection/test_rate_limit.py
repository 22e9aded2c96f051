"""Limits of one process and of several over a real Redis: atomic, exact over time, and never silently open."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

import pytest
import redis

from scoring.protection import rate_limit
from scoring.protection.rate_limit import RateLimiter
from scoring.protection.shared_buckets import Booking, SharedBuckets, redis_client
from scoring.protection.token_bucket import RateLimit
from tests.scoring.protection.clocks import Clock

SLOW = RateLimit(0.001, 100)  # as good as no refill during a test


class SeveralProcesses(SharedBuckets):
    """Shared buckets that call themselves another process each."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(redis_client(url, 1.0))
        self._process = name


@pytest.fixture
def shared(redis_url):
    made = []

    def make(name: str, **options) -> RateLimiter:
        made.append(RateLimiter(SeveralProcesses(redis_url, name), **options))
        return made[-1]

    yield make
    for limiter in made:
        limiter.close()


def in_threads(count: int, work) -> list:
    results, start = [], threading.Barrier(count)

    def run() -> None:
        start.wait()
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_callers_have_buckets_of_their_own():
    limiter = RateLimiter(clock=Clock())
    limit = RateLimit(1, 2)
    assert [limiter.take("a", limit).allowed for _ in range(3)] == [True, True, False]
    assert limiter.take("b", limit).allowed
    assert (limiter.granted, limiter.refused) == (3, 1)


def test_threads_of_one_process_get_exactly_the_burst():
    limiter = RateLimiter(clock=Clock())
    granted = in_threads(16, lambda: sum(limiter.take("a", SLOW).allowed for _ in range(50)))
    assert sum(granted) == 100


def test_a_changed_limit_holds_at_once():
    limiter = RateLimiter(clock=Clock())
    assert sum(limiter.take("a", RateLimit(1, 1)).allowed for _ in range(3)) == 1
    assert sum(limiter.take("a", RateLimit(1, 5)).allowed for _ in range(9)) == 5


def test_remembered_callers_are_bounded(monkeypatch):
    monkeypatch.setattr(rate_limit, "MAX_CALLERS", 100)
    clock = Clock()
    limiter = RateLimiter(clock=clock)
    assert not [limiter.take("spender", RateLimit(0.01, 1)).allowed for _ in range(2)][1]
    for i in range(5000):
        clock.pass_(0.001)
        limiter.take(f"address-{i}", RateLimit(1000, 1))
    assert len(limiter._shares) <= 100
    assert not limiter.take("spender", RateLimit(0.01, 1)).allowed, "one that is in debt is not forgotten for those that are not"


def test_one_atomic_call_never_grants_more_than_the_bucket_holds(shared):
    limiters = [shared(f"p{i}") for i in range(4)]

    def spend() -> int:
        limiter = limiters[threading.get_ident() % 4]
        return sum(limiter.take_now("a", SLOW).allowed for _ in range(30))

    assert sum(in_threads(8, spend)) == 100


def test_what_comes_back_from_redis_is_what_a_bucket_of_ones_own_would_say(redis_url):
    buckets = SharedBuckets(redis_client(redis_url, 1.0))
    limit = RateLimit(1000, 10)
    processes, (first,) = buckets.book([Booking("a", *_of(limit), 0, 4)])
    assert (processes, first.granted, round(first.tokens)) == (1, True, 6)
    _, (refused, other) = buckets.book([Booking("b", 0.001, 5, 5, 1), Booking("c", 0.001, 5, 0, 20)])
    assert (refused.granted, round(refused.tokens)) == (False, 0)
    assert (other.granted, round(other.tokens)) == (True, -15), "more than the burst takes a full bucket into debt"
    time.sleep(0.02)
    _, (again,) = buckets.book([Booking("a", *_of(limit))])
    assert 9 <= again.tokens <= 10, "it flows in by the server's clock, up to the burst"


def _of(limit: RateLimit) -> tuple[float, float]:
    return limit.rate, limit.burst


def test_a_bucket_that_is_full_again_leaves_nothing_behind(redis_url):
    client = redis_client(redis_url, 1.0)
    buckets = SharedBuckets(client)
    buckets.book([Booking("a", 100, 2, 0, 1)])
    (key,) = client.keys("*bucket:a")
    assert 0 < client.pttl(key) <= 1010 + 10


def test_processes_share_one_limit_without_waiting_for_redis(shared):
    limit = RateLimit(200, 50)
    limiters = [shared(f"p{i}", processes=2) for i in range(2)]
    began = time.monotonic()

    def spend(limiter: RateLimiter) -> int:
        granted = 0
        while time.monotonic() - began < 1.2:
            granted += limiter.take("a", limit).allowed
            time.sleep(0.0005)
        return granted

    # Each of two is asked by four at once, for far more than the limit.
    turns = iter([*limiters] * 4)
    results = in_threads(8, lambda: spend(next(turns)))
    for limiter in limiters:
        limiter.close()
    seconds = time.monotonic() - began
    assert sum(results) <= 1.01 * (50 + 200 * seconds) + 2, "one first request a process and exchange may be on credit"
    assert sum(results) >= 0.75 * (50 + 200 * 1.2), "what is there is given out"


def test_a_limit_below_one_token_a_process_still_lets_requests_in(shared):
    limiters = [shared(f"p{i}", processes=4) for i in range(2)]
    assert limiters[0].take("a", RateLimit(0.001, 1)).allowed
    limiters[0].exchange()
    limiters[1].exchange()
    assert not limiters[0].take("a", RateLimit(0.001, 1)).allowed
    # The other has not heard of it; it books a debt, and then nobody gets more.
    limiters[1].take("a", RateLimit(0.001, 1))
    for limiter in limiters:
        limiter.exchange()
        assert not limiter.take("a", RateLimit(0.001, 1)).allowed


def test_tokens_that_come_back_can_be_taken_again(shared):
    limiter = shared("p")
    assert [limiter.take_now("a", RateLimit(0.001, 1)).allowed for _ in range(2)] == [True, False]
    limiter.give_back("a", RateLimit(0.001, 1))
    limiter.exchange()
    assert limiter.take_now("a", RateLimit(0.001, 1)).allowed


@pytest.mark.parametrize("way", ["take", "take_now"])
def test_without_redis_each_process_keeps_to_its_share(start_redis, caplog, way):
    server = start_redis()
    limiter = RateLimiter(SharedBuckets(redis_client(server.url, 0.5)), processes=4, clock=Clock())
    try:
        server.kill()
        with pytest.raises(redis.RedisError):
            limiter._store.book([Booking("x", 1, 1)])
        with caplog.at_level(logging.WARNING, logger=rate_limit.__name__):
            limiter._note_failure(redis.ConnectionError())
            limiter._note_failure(redis.ConnectionError())
        assert len([r for r in caplog.records if "does not answer" in r.message]) == 1, "said once"
        assert not limiter.store_answers
        granted = sum(getattr(limiter, way)("a", SLOW).allowed for _ in range(200))
        assert granted == 25, "a quarter of 100: neither all of it nor nothing"
    finally:
        limiter.close()


def test_it_finds_back_to_the_shared_limit_by_itself(start_redis, monkeypatch):
    monkeypatch.setattr(rate_limit, "RETRY_SECONDS", 0.05)
    server = start_redis(durable=True)
    limiter = RateLimiter(SharedBuckets(redis_client(server.url, 0.5)), processes=4)
    try:
        limiter.take("a", SLOW)
        until(lambda: limiter.processes == 1, "the first exchange")
        server.kill()
        until(lambda: limiter.take("a", SLOW) and not limiter.store_answers, "the loss is noticed")
        assert limiter.failed_exchanges >= 1
        server.start()
        until(lambda: limiter.take("a", SLOW) and limiter.store_answers, "the return is noticed")
    finally:
        limiter.close()


def test_a_server_that_is_frozen_holds_nobody_for_long(start_redis):
    server = start_redis()
    limiter = RateLimiter(SharedBuckets(redis_client(server.url, 0.25)), processes=2)
    try:
        assert limiter.take_now("a", SLOW).remaining == 99
        os.kill(server.pid, signal.SIGSTOP)
        began = time.monotonic()
        assert limiter.take_now("a", SLOW).allowed and not limiter.store_answers
        assert time.monotonic() - began < 5, "a quarter of a second, and not the minutes that a client may retry for"
    finally:
        os.kill(server.pid, signal.SIGCONT)
        limiter.close()


def test_it_asks_again_though_nobody_is_waiting(redis_url):
    limiter = RateLimiter(SharedBuckets(redis_client(redis_url, 0.5)))
    limiter._note_failure(redis.ConnectionError())
    limiter.exchange()
    assert limiter.store_answers
    limiter._store = SharedBuckets(redis_client("redis://127.0.0.1:1/0", 0.5))
    limiter._note_failure(redis.ConnectionError())
    with pytest.raises(redis.RedisError):
        limiter.exchange()
    assert not limiter.store_answers


def test_the_decision_path_does_not_wait_for_a_store_that_hangs(monkeypatch):
    class Hanging:
        def book(self, bookings):
            time.sleep(0.4)
            raise redis.TimeoutError("no answer")

        def close(self):
            pass

    limiter = RateLimiter(Hanging(), processes=2)
    limiter.take("a", SLOW)
    time.sleep(0.05)  # the thread is now inside the call
    began = time.thread_time(), time.monotonic()
    for _ in range(50):
        limiter.take("a", SLOW)
    assert time.monotonic() - began[1] < 0.3, "fifty answers came while one call hung"
    limiter.close()


def until(condition, what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
