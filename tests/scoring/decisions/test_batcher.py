"""Batches on event loops with a real engine and a real database; tests/scoring/decisions/test_service.py has the queue."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable

import pytest
from django.db import DatabaseError, connections

import scoring.decisions.engine as engine_module
from scoring.decisions.batcher import Batcher
from scoring.decisions.requests import Decided, DecisionRequest, request_now
from scoring.errors import DeadlineExceeded, EngineUnavailable, TransactionConflict
from scoring.features.schema import current_schema
from scoring.models import Decision, OutboxEvent
from scoring.stored_answers import stored_answer
from tests.scoring.decisions.conftest import payment

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]


def sent(number: int | str, **fields) -> DecisionRequest:
    return request_now(json.dumps(payment(number, **fields)).encode())


@pytest.fixture
def batcher(transactional_db, fresh_engine):
    made = Batcher()
    made.start(fresh_engine())
    yield made
    made.stop("the test is over")
    connections.close_all()


def run(story: Callable, *arguments):
    return asyncio.run(asyncio.wait_for(story(*arguments), 30))


def in_threads(*stories: Callable) -> list:
    """Run each story on an event loop and a thread of its own, and return what they return."""
    results: list = [None] * len(stories)

    def one(place: int) -> None:
        results[place] = run(stories[place])

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(stories))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


@pytest.fixture
def gate(monkeypatch):
    """While it is cleared a commit does not end; `entered` says that one began."""
    opened, entered, commit = threading.Event(), threading.Event(), engine_module.commit_decisions
    opened.set()

    def held(*arguments) -> None:
        entered.set()
        assert opened.wait(20)
        commit(*arguments)

    monkeypatch.setattr(engine_module, "commit_decisions", held)
    opened.entered = entered
    yield opened
    opened.set()


def count_of_card(batcher: Batcher) -> float:
    """How many payments the engine remembers of the card that all payments here are made with."""
    row = batcher.engine.dry_run(sent("probe"))[1]
    return float(row[current_schema().index("card.count.24h")])


def test_what_is_answered_is_stored_and_what_is_stored_is_answered(batcher):
    async def story():
        return await asyncio.gather(*(batcher.submit([sent(i), sent(i, amount_minor=1)]) for i in range(40)))

    results = run(story)
    stored = {row.transaction_id: stored_answer(row) for row in Decision.objects.all()}
    assert {f"tx-{i}": of[0].body for i, of in enumerate(results)} == stored and len(stored) == 40
    assert all(not of[0].replayed and isinstance(of[1], TransactionConflict) for of in results)
    assert OutboxEvent.objects.count() == 40 and count_of_card(batcher) == 40


def test_several_event_loops_at_once_and_the_same_transactions_from_all_of_them(batcher):
    async def story():
        results = []
        for start in range(0, 60, 6):
            group = [sent(i) for i in range(start, start + 6)]
            results += await batcher.submit(group)
            await asyncio.sleep(0)
        return results

    told = in_threads(*[story] * 4)
    assert all(isinstance(result, Decided) for results in told for result in results)
    assert [[result.body for result in results] for results in told] == [[result.body for result in told[0]]] * 4
    assert sum(not result.replayed for results in told for result in results) == 60 == Decision.objects.count()
    assert count_of_card(batcher) == 60


def test_callers_of_two_loops_share_a_batch(batcher, gate):
    gate.clear()
    first = threading.Event()

    async def holder():
        future = batcher.submit([sent("held")])
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)
        first.set()
        return await future

    async def other():
        while not first.is_set():
            await asyncio.sleep(0.001)
        future = batcher.submit([sent(threading.get_ident())])
        asyncio.get_running_loop().call_later(0.1, gate.set)
        return await future

    results = in_threads(holder, other, other)
    assert all(isinstance(result, Decided) and not result.replayed for (result,) in results)
    assert Decision.objects.count() == 3 and batcher.engine.counters.batches == 2


def test_a_loop_that_ends_during_its_commit_does_not_stop_the_others(batcher, gate):
    gate.clear()

    async def gone():
        batcher.submit([sent("gone")])
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)

    run(gone)  # its loop is closed now
    threading.Timer(0.05, gate.set).start()

    async def story():
        return await batcher.submit([sent("gone"), sent("next")])

    again, new = run(story)
    assert again.replayed and not new.replayed, "what was on its way was stored once"
    assert Decision.objects.count() == 2 and count_of_card(batcher) == 2


@pytest.mark.parametrize("who", ["submit", "call", "stop"])
def test_a_step_that_a_loop_took_with_it_is_run_by_the_next_caller(batcher, gate, who):
    """The loop ends after it was told that the commit is done, and before it could act on it."""
    gate.clear()
    loop = asyncio.new_event_loop()

    async def gone():
        batcher.submit([sent("gone")])
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)

    loop.run_until_complete(gone())
    gate.set()
    ends = time.monotonic() + 20
    while batcher._step is None:
        assert time.monotonic() < ends
        time.sleep(0.001)
    loop.close()
    if who == "stop":
        batcher.stop("going away")
        assert not batcher._busy and Decision.objects.count() == 1
        return
    if who == "call":
        assert batcher.call(lambda engine: engine.counters.decisions).result(20) == 1

    async def story():
        return await batcher.submit([sent("gone"), sent("next")])

    again, new = run(story)
    assert again.replayed and not new.replayed
    assert Decision.objects.count() == 2 and count_of_card(batcher) == 2


def test_who_waits_too_long_is_told_on_its_own_loop_while_the_database_keeps_the_batch(batcher, monkeypatch):
    gates, entered = ([threading.Event(), threading.Event()] for _ in range(2))
    calls, commit = iter(range(2)), engine_module.commit_decisions

    def held(*arguments) -> None:
        number = next(calls)
        entered[number].set()
        assert gates[number].wait(20)
        commit(*arguments)

    monkeypatch.setattr(engine_module, "commit_decisions", held)
    queued, told = threading.Event(), threading.Event()

    async def driver():
        first = batcher.submit([sent("first")])
        await asyncio.to_thread(entered[0].wait, 20)
        second = batcher.submit([sent("second")])
        await asyncio.to_thread(queued.wait, 20)
        gates[0].set()
        await asyncio.to_thread(told.wait, 20)
        gates[1].set()
        return await first, await second

    async def hasty():
        while not (entered[0].is_set() and batcher._scheduler.queue.total):
            await asyncio.sleep(0.001)
        future = batcher.submit([sent("hasty")], within_us=400_000)
        queued.set()
        (result,) = await future
        told.set()
        return result, entered[1].is_set(), gates[1].is_set()

    (first, second), (late, was_in_flight, was_committed) = in_threads(driver, hasty)
    assert isinstance(first[0], Decided) and isinstance(second[0], Decided)
    assert isinstance(late, DeadlineExceeded) and late.retryable and was_in_flight and not was_committed
    monkeypatch.setattr(engine_module, "commit_decisions", commit)

    async def again():
        return await batcher.submit([sent("hasty")])

    assert run(again)[0].replayed, "it was decided once, and its answer is there for who asks again"


def test_a_commit_that_fails_refuses_its_batch_and_is_as_if_it_had_not_been(batcher, monkeypatch):
    commit, failures = engine_module.commit_decisions, [DatabaseError("disk full")]

    def fail_once(*arguments) -> None:
        if failures:
            raise failures.pop()
        commit(*arguments)

    monkeypatch.setattr(engine_module, "commit_decisions", fail_once)

    async def story():
        refused = await batcher.submit([sent(1), sent(2)])
        return refused, await batcher.submit([sent(1), sent(2), sent(3)])

    refused, results = run(story)
    assert all(isinstance(of, EngineUnavailable) and of.retryable and "disk full" not in str(of) for of in refused)
    assert [of.replayed for of in results] == [False] * 3
    assert Decision.objects.count() == 3 and count_of_card(batcher) == 3


def test_a_look_up_that_fails_refuses_its_batch_alone(batcher, monkeypatch):
    find, failures = engine_module.find_answers, [DatabaseError("gone")]

    def fail_once(ids):
        if failures:
            raise failures.pop()
        return find(ids)

    async def story():
        (first,) = await batcher.submit([sent(1)])
        monkeypatch.setattr(engine_module, "find_answers", fail_once)
        refused = await batcher.submit([sent(1), sent(2)])
        return first, refused, await batcher.submit([sent(1), sent(2)])

    first, refused, results = run(story)
    assert all(isinstance(of, EngineUnavailable) for of in refused)
    assert results[0] == Decided(first.body, True) and not results[1].replayed
    assert Decision.objects.count() == 2 and count_of_card(batcher) == 2


@pytest.mark.parametrize("step", ["commit_decisions", "find_answers", "render_answers"])
def test_a_bug_in_any_step_refuses_its_batch_and_the_engine_goes_on(batcher, monkeypatch, step):
    async def story():
        await batcher.submit([sent(0)])
        with monkeypatch.context() as patched:
            patched.setattr(engine_module, step, lambda *_: {}["bug"])
            refused = await batcher.submit([sent(0), sent(1)])
        return refused, await batcher.submit([sent(0), sent(1)])

    refused, (again, new) = run(story)
    assert all(isinstance(of, EngineUnavailable) and "bug" not in str(of) for of in refused)
    assert again.replayed and not new.replayed
    assert count_of_card(batcher) == 2 == Decision.objects.count()


def test_stopping_answers_what_is_queued_in_every_loop(transactional_db, fresh_engine, gate):
    batcher, queued, stopped = Batcher(), threading.Barrier(3, timeout=20), threading.Event()
    batcher.start(fresh_engine())
    gate.clear()

    def story_of(name: str):
        async def story():
            futures = [batcher.submit([sent(f"{name}{i}")]) for i in range(3)]
            await asyncio.to_thread(queued.wait)
            results = [await future for future in futures]
            while not stopped.is_set():
                await asyncio.sleep(0.001)
            with pytest.raises(EngineUnavailable, match="going away"):
                batcher.submit([sent(f"{name}-late")])
            return results

        return story

    def stop() -> None:
        queued.wait()
        threading.Timer(0.1, gate.set).start()
        batcher.stop("going away")
        stopped.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    told = in_threads(story_of("a"), story_of("b"))
    stopper.join(20)
    assert all(isinstance(result, Decided) for results in told for (result,) in results)
    assert Decision.objects.count() == 6 and not batcher._database._thread.is_alive()
    connections.close_all()


def test_what_cannot_be_answered_in_time_is_refused(transactional_db, fresh_engine, gate):
    batcher = Batcher()
    batcher.start(fresh_engine())
    gate.clear()

    async def story():
        held = batcher.submit([sent("held")])
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)
        waiting = batcher.submit([sent("waiting")])
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(batcher.stop, "going away", drain_seconds=0.05))
        (refused,) = await waiting
        assert time.monotonic() - began < 15
        gate.set()
        (decided,) = await held
        await stopping
        return refused, decided

    refused, decided = run(story)
    assert isinstance(refused, EngineUnavailable) and "going away" in str(refused)
    assert isinstance(decided, Decided) and Decision.objects.count() == 1
    connections.close_all()


def test_one_turn_of_the_loop_is_one_batch(batcher):
    async def story():
        await batcher.submit([sent("warm")])
        before = batcher.engine.counters.batches
        futures = [batcher.submit([sent(i)]) for i in range(30)]
        for future in futures:
            await future
        return batcher.engine.counters.batches - before

    assert run(story) == 1
