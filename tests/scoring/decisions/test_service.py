"""The engine of a process: what queues while a batch is committed is the next batch."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest

from scoring.decisions.service import EngineService
from scoring.engine import Priority
from scoring.errors import EngineOverloaded, EngineUnavailable
from scoring.telemetry import EngineCounters


class FakeEngine:
    """Answers each request with itself; can be held in the middle of a batch."""

    def __init__(self) -> None:
        self.counters = EngineCounters()
        self.saved_row_us = 0.0
        self.batches: list[list] = []
        self.refreshes = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()
        self.failure: Exception | None = None
        self.abandoned: list = []
        self.closed = False

    def begin(self, requests: list, reduced: bool = False) -> SimpleNamespace:
        assert not reduced, "a program that saves nothing without its net is never reduced"
        self.batches.append(list(requests))
        return SimpleNamespace(requests=list(requests), must_look_up=False, rows=None, results=[])

    def prepare(self, work: SimpleNamespace) -> None:
        if self.failure is not None:
            raise self.failure
        work.rows = work.requests

    def commit(self, work: SimpleNamespace) -> None:
        self.entered.set()
        assert self.go_on.wait(20)

    def finish(self, work: SimpleNamespace, error: Exception | None) -> bool:
        if error is not None:
            raise error
        work.results = [f"answer {request}" for request in work.requests]
        return True

    def abandon(self, work: SimpleNamespace) -> None:
        self.abandoned.append(work.requests)

    def refresh(self, *, wait: bool = True, between_batches=None, busy_share: float = 1.0) -> None:
        self.refreshes += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def thread(engine):
    made = EngineService(build=lambda: engine, observe=lambda _: None)
    yield made
    engine.go_on.set()
    made.stop()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


async def held(engine: FakeEngine, thread: EngineService) -> asyncio.Future:
    """Return the future of a first request whose commit does not end."""
    engine.go_on.clear()
    engine.entered.clear()
    future = thread.submit(["first"])
    while not engine.entered.is_set():
        await asyncio.sleep(0.001)
    return future


def test_one_request_goes_at_once(engine, thread):
    async def story():
        return await thread.submit(["a"])

    assert run(story()) == ["answer a"]
    assert engine.batches == [["a"]]


def test_requests_that_wait_together_become_one_batch(engine, thread):
    async def story():
        first = await held(engine, thread)
        later = [thread.submit([name]) for name in "abc"] + [thread.submit(["d", "e"])]
        engine.go_on.set()
        return [await future for future in [first, *later]]

    assert run(story()) == [["answer first"], ["answer a"], ["answer b"], ["answer c"], ["answer d", "answer e"]]
    assert engine.batches == [["first"], list("abcde")]


def test_admission_keeps_a_third_of_the_time_for_what_no_forecast_sees(engine, thread):
    """The scheduler is asked about 60 of 90 ms, less what was spent in the socket; the caller's deadline stays."""

    async def story():
        first = await held(engine, thread)
        scheduler = thread._batcher._scheduler
        asked = []
        scheduler.admit = lambda priority, rows, deadline_us, now_us: asked.append(deadline_us - now_us)
        waiting = thread.submit(["a"], within_us=90_000.0)
        head = scheduler.queue.head(0)
        read_late = asyncio.get_running_loop().create_future()
        thread.enqueue(["b"], read_late.set_result, Priority.LIVE, 90_000.0, waited_us=30_000.0)
        engine.go_on.set()
        return await first, await waiting, await read_late, asked, head.deadline_us - head.arrived_us

    _, answer, read_late, asked, allowed = run(story())
    assert answer == ["answer a"] and read_late == ["answer b"] and allowed == pytest.approx(90_000.0)
    assert asked == [pytest.approx(60_000.0), pytest.approx(30_000.0)], "what it waited to be read is gone"


def test_a_batch_is_no_larger_than_it_may_be(engine, settings):
    settings.ENGINE_MAX_BATCH = 4
    thread = EngineService(build=lambda: engine, observe=lambda _: None)

    async def story():
        first = await held(engine, thread)
        large, small = thread.submit(list(range(10))), thread.submit(["x"])
        engine.go_on.set()
        return await first, await large, await small

    _, large, small = run(story())
    assert large == [f"answer {i}" for i in range(10)] and small == ["answer x"]
    assert [len(batch) for batch in engine.batches] == [1, 4, 4, 3]
    assert [request for batch in engine.batches[1:] for request in batch] == [*range(10), "x"], "in order of arrival"
    thread.stop()


def test_more_than_the_queue_may_hold_is_refused_at_once(engine, thread, settings):
    settings.ENGINE_QUEUE_LIMIT = 5

    async def story():
        first = await held(engine, thread)
        waiting = thread.submit(list("abc"))
        with pytest.raises(EngineOverloaded) as refused:
            thread.submit(list("def"))
        assert refused.value.status == 503 and refused.value.retryable
        more = thread.submit(list("de"))
        engine.go_on.set()
        return await first, await waiting, await more

    assert run(story())[1:] == (["answer a", "answer b", "answer c"], ["answer d", "answer e"])
    assert engine.counters.refused == 3


def test_an_unexpected_failure_refuses_its_batch_and_the_thread_goes_on(engine, thread):
    async def story():
        engine.failure = RuntimeError("bug")
        (failed,) = await thread.submit(["a"])
        engine.failure = None
        return failed, await thread.submit(["b"])

    failed, after = run(story())
    assert isinstance(failed, EngineUnavailable) and "bug" not in str(failed)
    assert engine.abandoned == [["a"]]
    assert after == ["answer b"]


def test_a_caller_that_is_gone_does_no_harm(engine, thread):
    async def gone():
        await held(engine, thread)
        asyncio.get_running_loop().call_later(0.01, lambda: None)

    run(gone())  # its event loop is closed while the decision is being made
    engine.go_on.set()

    async def next_one():
        return await thread.submit(["b"])

    assert run(next_one()) == ["answer b"]


def test_a_cancelled_request_does_no_harm(engine, thread):
    async def story():
        first = await held(engine, thread)
        first.cancel()
        engine.go_on.set()
        return await thread.submit(["b"])

    assert run(story()) == ["answer b"]


# --- calls between batches -----------------------------------------------------------------------------------------------


def test_a_call_runs_between_two_batches_on_the_engine(engine, thread):
    async def story():
        first = await held(engine, thread)
        call = thread.call(lambda of: (of is engine, len(engine.batches)))
        await asyncio.sleep(0.01)
        assert not call.done(), "the engine is the batch's"
        engine.go_on.set()
        await first
        return call.result(20)

    assert run(story()) == (True, 1)
    assert thread.call(lambda of: of is engine).result(20), "and at once when idle"


def test_a_call_that_fails_tells_its_caller_alone(engine, thread):
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda of: 1 / 0).result(20)
    assert thread.call(lambda of: 5).result(20) == 5


def test_a_call_whose_caller_gave_up_neither_runs_nor_stops_the_engine(engine, thread):
    """A client that hangs up during a dry run cancels the call while it waits behind a batch."""
    ran = []

    async def story():
        first = await held(engine, thread)
        waiting = asyncio.ensure_future(asyncio.wrap_future(thread.call(lambda of: ran.append(1))))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises((asyncio.CancelledError, CancelledError)):
            await waiting
        await asyncio.sleep(0.01)  # the cancellation reaches the other side in the next turn of the loop
        engine.go_on.set()
        await first
        return await thread.submit(["b"])

    assert run(story()) == ["answer b"]
    assert ran == [] and thread.ready


def test_the_engine_refreshes_while_idle(engine, settings):
    settings.ENGINE_REFRESH_SECONDS = 0.02
    thread = EngineService(build=lambda: engine, observe=lambda _: None)
    for _ in range(200):
        if engine.refreshes >= 3:
            break
        threading.Event().wait(0.02)
    thread.stop()
    assert engine.refreshes >= 3


def test_a_refresh_that_fails_does_not_stop_deciding(engine, settings):
    settings.ENGINE_REFRESH_SECONDS = 0.02
    engine.refresh = lambda **_: 1 / 0
    thread = EngineService(build=lambda: engine, observe=lambda _: None)

    async def story():
        await asyncio.sleep(0.1)
        return await thread.submit(["a"])

    assert run(story()) == ["answer a"]
    thread.stop()


# --- start and end -------------------------------------------------------------------------------------------------------


def test_stopping_answers_what_is_queued_and_refuses_what_comes_after(engine, thread):
    async def story():
        first = await held(engine, thread)
        waiting = thread.submit(["a"])
        stopping = threading.Thread(target=thread.stop)
        stopping.start()
        while not thread.stopped:
            await asyncio.sleep(0.005)
        for attempt in (lambda: thread.submit(["late"]), lambda: thread.call(lambda of: 5)):
            with pytest.raises(EngineUnavailable):
                attempt()
        engine.go_on.set()
        answers = await first, await waiting
        stopping.join(20)
        return answers

    assert run(story()) == (["answer first"], ["answer a"])
    assert not thread.ready


def test_requests_wait_while_the_engine_is_being_built(engine):
    allowed = threading.Event()

    def build():
        assert allowed.wait(20)
        return engine

    thread = EngineService(build=build, observe=lambda _: None)

    async def story():
        assert not thread.ready and thread.engine is None
        waiting = thread.submit(["a"])
        allowed.set()
        return await waiting

    assert run(story()) == ["answer a"]
    assert thread.ready
    thread.stop()


def test_an_engine_that_cannot_start_refuses_everyone(caplog):
    allowed = threading.Event()

    def build():
        assert allowed.wait(20)
        raise RuntimeError("no table")

    thread = EngineService(build=build, observe=lambda _: None)

    async def story():
        waiting = thread.submit(["a"])
        call = thread.call(lambda of: 5)
        allowed.set()
        (refused,) = await waiting
        return refused, call

    refused, call = run(story())
    assert isinstance(refused, EngineUnavailable) and "its log says why" in str(refused)
    with pytest.raises(EngineUnavailable):
        call.result(20)
    with pytest.raises(EngineUnavailable):
        run(_submit(thread))
    assert "no table" in caplog.text and not thread.ready


async def _submit(thread: EngineService):
    return await thread.submit(["b"])


def test_after_a_failed_start_the_next_request_tries_again(monkeypatch, engine):
    import scoring.decisions.service as module

    attempts = iter([RuntimeError("not yet"), engine])

    def build():
        result = next(attempts)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(module, "_service", None)
    make = module.EngineService.__init__
    monkeypatch.setattr(module.EngineService, "__init__", lambda self: make(self, build, lambda _: None))
    first = module.engine_service()
    first._thread.join(20)
    assert not first.ready
    assert run(_submit(module.engine_service())) == ["answer b"]
    module.stop_engine_service()
