"""The pace at which refused connections are listened to again."""

from __future__ import annotations

import asyncio
import time

import pytest

from scoring.protection.refusal_pace import RefusalPace


def listened_to(pace: RefusalPace, count: int, seconds: float) -> tuple[list[int], list[int]]:
    """Refuse something on `count` connections; return which need not rest, and which are listened to again in some seconds."""
    free: list[int] = []
    again: list[int] = []

    async def story() -> None:
        for number in range(count):
            if not pace.has_to_rest(lambda number=number: again.append(number)):
                free.append(number)
        await asyncio.sleep(seconds)

    asyncio.run(story())
    return free, again


def test_after_a_few_refusals_nobody_rests():
    assert listened_to(RefusalPace(1_000), 50, 0.0) == (list(range(50)), [])


def test_of_many_all_are_listened_to_again_in_order_and_at_the_pace():
    began = time.monotonic()
    pace = RefusalPace(200)
    free, again = listened_to(pace, 1_000, 0.5)
    passed = time.monotonic() - began
    assert free + again == list(range(len(free) + len(again))) and pace.resting == 1_000 - len(free) - len(again)
    assert len(free) <= 11 and 50 <= len(again) <= 200 * passed + 1


def test_nobody_rests_for_ever():
    free, again = listened_to(RefusalPace(2_000), 300, 0.5)
    assert free + again == list(range(300)) and again


def test_refusals_that_are_only_counted_keep_the_others_waiting():
    pace = RefusalPace(1_000)

    async def story() -> float:
        again = asyncio.Event()
        for _ in range(150):
            pace.count()
        began = time.monotonic()
        assert pace.has_to_rest(again.set)
        await asyncio.wait_for(again.wait(), 10)
        return time.monotonic() - began

    assert asyncio.run(story()) > 0.09, "50 were saved up, and 100 are paid off at 1,000 a second"


def test_zero_is_no_limit():
    pace = RefusalPace(0)
    pace.count()
    assert listened_to(pace, 100_000, 0.0) == (list(range(100_000)), [])


def test_an_event_loop_that_ended_holds_nobody_up():
    pace = RefusalPace(1)
    assert listened_to(pace, 3, 0.0) == ([0], []) and pace.resting == 2
    assert listened_to(pace, 1, 0.0) == ([0], []) and pace.resting == 0


def test_a_pace_below_nothing_is_none():
    with pytest.raises(ValueError, match="rate"):
        RefusalPace(-1)
