"""The concurrency limit and the retry budget."""

from __future__ import annotations

import random
import threading

import pytest

from scoring.errors import TooManyInFlight
from scoring.protection.concurrency import ConcurrencyLimit, RetryBudget, full_jitter
from tests.scoring.protection.clocks import Clock


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


def test_retries_are_a_tenth_of_the_calls():
    clock = Clock()
    budget = RetryBudget(clock=clock)
    for _ in range(10):
        budget.note_call(20)
        clock.pass_(0.9)
    assert sum(budget.may_retry() for _ in range(100)) == 20
    assert (budget.retries, budget.denied) == (20, 80)
    clock.pass_(20)
    assert sum(budget.may_retry() for _ in range(10)) == 3, "a quiet service may repeat a little"


def test_an_outage_does_not_multiply_the_load():
    """Every call fails and would like three retries: the dependency sees a tenth more, not four times as much."""
    clock, asked = Clock(), 0
    budget = RetryBudget(clock=clock)
    for _ in range(2000):
        budget.note_call()
        asked += 1
        for _ in range(3):
            if budget.may_retry():
                asked += 1
        clock.pass_(0.01)
    assert 2000 < asked <= 2000 * 1.1 + 3


def test_waits_are_spread_over_the_whole_interval():
    rng = random.Random(7)
    waits = [full_jitter(3, base=0.01, longest=1.0, rng=rng) for _ in range(2000)]
    assert min(waits) < 0.004 and 0.076 < max(waits) <= 0.08 and 0.037 < sum(waits) / 2000 < 0.043
    assert max(full_jitter(30, longest=0.5, rng=rng) for _ in range(100)) <= 0.5
