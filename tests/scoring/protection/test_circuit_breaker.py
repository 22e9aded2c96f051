"""When a breaker opens, what it lets through, and when it closes; the clock is set by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.errors import CircuitOpen
from scoring.protection.circuit_breaker import BreakerPolicy, BreakerState, CircuitBreaker
from tests.scoring.protection.clocks import Clock
from tests.strategies import examples

NEVER_IN_A_ROW = 10**9
BY_SHARE = BreakerPolicy(failures_in_a_row=NEVER_IN_A_ROW)


def breaker_of(policy: BreakerPolicy | None = None) -> tuple[CircuitBreaker, Clock]:
    clock = Clock()
    return CircuitBreaker("database", policy, clock=clock), clock


def call(breaker: CircuitBreaker, clock: Clock, succeeded: bool = True, seconds: float = 0.0) -> bool:
    """Make one call if it is let through; return whether it was."""
    if not breaker.allows():
        return False
    clock.pass_(seconds)
    breaker.record(succeeded, seconds)
    return True


def opened(policy: BreakerPolicy | None = None) -> tuple[CircuitBreaker, Clock]:
    breaker, clock = breaker_of(policy)
    for _ in range(20):
        call(breaker, clock, False)
    assert breaker.state is BreakerState.OPEN
    return breaker, clock


def test_half_of_twenty_calls_open_it():
    breaker, clock = breaker_of(BY_SHARE)
    for i in range(19):
        call(breaker, clock, i % 2 == 0)
    assert breaker.state is BreakerState.CLOSED, "nineteen are too few to judge by"
    call(breaker, clock, False)
    assert breaker.state is BreakerState.OPEN and breaker.opened == 1


def test_fewer_than_half_do_not():
    breaker, clock = breaker_of(BY_SHARE)
    for i in range(1000):
        call(breaker, clock, i % 2 == 0 or i % 20 == 19)
    assert breaker.state is BreakerState.CLOSED


def test_failures_leave_with_the_window():
    breaker, clock = breaker_of(BY_SHARE)
    for _ in range(19):
        call(breaker, clock, False)
    clock.pass_(10.0)
    for _ in range(19):
        call(breaker, clock, False)
    assert breaker.state is BreakerState.CLOSED


def test_failures_in_a_row_open_it_however_few_the_calls():
    breaker, clock = breaker_of(BreakerPolicy(failures_in_a_row=3))
    for succeeded in (False, False, True, False, False):
        clock.pass_(30)
        call(breaker, clock, succeeded)
    assert breaker.state is BreakerState.CLOSED
    clock.pass_(30)
    call(breaker, clock, False)
    assert breaker.state is BreakerState.OPEN


def test_slow_calls_open_it_when_they_are_more_than_one_in_a_hundred():
    breaker, clock = breaker_of(BreakerPolicy(budget_seconds=0.1))
    for i in range(200):
        call(breaker, clock, seconds=0.11 if i in (99, 199) else 0.001)
    assert breaker.state is BreakerState.CLOSED
    call(breaker, clock, seconds=0.11)
    assert breaker.state is BreakerState.OPEN


def test_while_open_one_call_a_second_is_let_through():
    breaker, clock = opened()
    before, let_through = breaker.refused, 0
    for _ in range(1000):
        clock.pass_(0.01)
        let_through += call(breaker, clock, False)
    assert let_through in (9, 10)
    assert breaker.refused - before == 1000 - let_through


def test_five_good_probes_close_it_and_the_past_is_forgotten():
    breaker, clock = opened()
    states = []
    for _ in range(5):
        assert not call(breaker, clock)
        clock.pass_(1.0)
        assert call(breaker, clock)
        states.append(breaker.state)
    assert states == [BreakerState.HALF_OPEN] * 4 + [BreakerState.CLOSED]
    assert all(call(breaker, clock, i % 2 == 0) for i in range(10)), "the failures of before do not count again"


def test_a_bad_probe_begins_again():
    breaker, clock = opened()
    for succeeded in (True, True, True, True, False, True, True, True, True):
        clock.pass_(1.0)
        assert call(breaker, clock, succeeded)
        assert breaker.state is not BreakerState.CLOSED
    clock.pass_(1.0)
    assert call(breaker, clock) and breaker.state is BreakerState.CLOSED


def test_a_guarded_block_does_not_run_while_open():
    breaker, clock = opened()
    clock.pass_(0.4)
    with pytest.raises(CircuitOpen, match="the database does not answer") as refused, breaker.guarding(OSError):
        raise AssertionError("ran")
    assert refused.value.headers == {"Retry-After": "1"} and refused.value.status == 503


def test_only_the_named_errors_are_failures_of_the_dependency():
    breaker, _ = breaker_of(BreakerPolicy(failures_in_a_row=2))
    for _ in range(5):
        with pytest.raises(ValueError), breaker.guarding(OSError):
            raise ValueError("a caller's mistake")
    assert breaker.state is BreakerState.CLOSED
    for _ in range(2):
        with pytest.raises(ConnectionError), breaker.guarding(OSError):
            raise ConnectionError
    assert breaker.state is BreakerState.OPEN


def test_a_call_that_does_not_end_counts_as_no_answer_while_it_lasts():
    breaker, clock = breaker_of()
    breaker.under_way()
    clock.pass_(5.0)
    assert breaker.allows() and breaker.blocked_for() == 0
    clock.pass_(0.1)
    assert not breaker.allows() and breaker.blocked_for() > 0
    breaker.record(True, 5.1)
    assert breaker.allows() and breaker.blocked_for() == 0 and breaker.state is BreakerState.CLOSED


def test_a_queue_may_ask_how_long_it_is_blocked_without_using_up_the_probe():
    breaker, clock = opened()
    assert [breaker.blocked_for() for _ in range(3)] == [1.0] * 3
    clock.pass_(1.0)
    assert [breaker.blocked_for() for _ in range(3)] == [0.0] * 3
    assert breaker.allows(), "the probe is still there"
    breaker.record(True)
    assert breaker.blocked_for() == 0, "half open: what is queued may be tried"


@examples(60)
@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300))
def test_an_open_breaker_never_asks_more_than_its_pace(calls):
    breaker, clock = breaker_of()
    asked_while_open: list[float] = []
    for wait, succeeded in calls:
        clock.pass_(wait)
        was_closed = breaker.state is BreakerState.CLOSED
        if call(breaker, clock, succeeded) and not was_closed:
            asked_while_open.append(clock.now)
        if was_closed:
            asked_while_open.clear()
    gaps = [later - earlier for earlier, later in zip(asked_while_open, asked_while_open[1:], strict=False)]
    assert all(gap >= 1.0 - 1e-9 for gap in gaps)
