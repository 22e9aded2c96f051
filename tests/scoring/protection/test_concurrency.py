"""The concurrency limit."""

from __future__ import annotations

import threading

import pytest

from scoring.errors import TooManyInFlight
from scoring.protection.concurrency import ConcurrencyLimit


def test_what_does_not_fit_is_refused_and_room_comes_back():
    limit = ConcurrencyLimit(3)
    assert limit.enter(2) and not limit.enter(2) and limit.enter(1)
    assert (limit.in_flight, limit.refused) == (3, 2)
    limit.leave(2)
    assert limit.enter(2)


def test_a_batch_above_the_limit_goes_alone():
    limit = ConcurrencyLimit(3)
    assert limit.enter(10) and not limit.enter(1)
    limit.leave(10)
    assert limit.enter(1) and not limit.enter(10)


def test_zero_is_no_limit():
    limit = ConcurrencyLimit(0)
    assert all(limit.enter(1000) for _ in range(100)) and limit.in_flight == 100_000


def test_a_block_leaves_however_it_ends():
    limit = ConcurrencyLimit(1)
    with pytest.raises(ZeroDivisionError), limit.holding():
        with pytest.raises(TooManyInFlight, match="1 requests are under way") as refused, limit.holding():
            raise AssertionError("ran")
        assert refused.value.status == 503 and refused.value.retryable
        raise ZeroDivisionError
    assert limit.in_flight == 0


def test_threads_never_exceed_it():
    limit, seen = ConcurrencyLimit(4), []

    def work() -> None:
        for _ in range(300):
            if limit.enter():
                seen.append(limit.in_flight)
                limit.leave()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert limit.in_flight == 0 and max(seen) <= 4
