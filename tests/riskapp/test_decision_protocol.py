"""The server's own protocol: what it does to a connection. That its answers are those of the other doors: test_doors.py."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from riskapp import decision_protocol
from riskapp.asgi import application
from riskapp.decision_protocol import DecisionProtocol
from scoring.api.keys import key_cache
from scoring.decisions.service import engine_service
from scoring.models import Decision
from scoring.models.api_key import SCOPES
from tests.scoring.api.clients import Wire, connect, in_bytes
from tests.scoring.api.conftest import ledger, make_key, payment  # noqa: F401  fixtures

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/decisions"
DATE = (b"date", b"Thu, 01 Jan 2026 00:00:00 GMT")


@pytest.fixture
def key(make_key) -> str:  # noqa: F811
    """A key that is remembered, so that its requests take the short way."""
    made = make_key(*SCOPES)
    assert key_cache.client(made) is not None
    return made


def request(key: str, number: Any = 1, *, more: tuple[tuple[bytes, bytes], ...] = (), path: str = URL) -> bytes:
    body = json.dumps(payment(number)).encode()
    headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"authorization", b"Bearer " + key.encode())]
    return b"".join(in_bytes("POST", path, [*headers, *more, (b"content-length", str(len(body)).encode())], [body]))


def play(story: Callable[[DecisionProtocol, Wire], Any], protocol: type | None = None) -> Any:
    """Run a story on a new connection, once there is an engine."""

    async def run() -> Any:
        while engine_service().engine is None:
            await asyncio.sleep(0.01)
        connection, wire = connect(application, protocol, [DATE])
        try:
            return await asyncio.wait_for(story(connection, wire), 30)
        finally:
            if not wire.closed:
                connection.connection_lost(None)

    return asyncio.run(run())


def test_a_decision_takes_no_task_and_gives_the_bytes_that_uvicorn_gives(key):
    def ask(protocol: type):
        async def story(connection, wire):
            connection.data_received(request(key, more=((b"x-request-id", b"same"),)))
            tasks = len(connection.server_state.tasks)
            answer = await wire.answer()
            return tasks, answer

        return play(story, protocol)

    (tasks, ours), (_, first), (others, again), (_, h11) = map(
        ask, (DecisionProtocol, DecisionProtocol, HttpToolsProtocol, H11Protocol)
    )
    assert tasks == 0 and others == 1
    assert ours.status == 200 and ours.headers["date"] == DATE[1].decode()
    assert list(first.headers.items()) == list(again.headers.items()) and first.body == again.body == h11.body == ours.body


def test_the_hooks_of_the_view_are_asked_without_a_task_and_see_this_connection(settings, key, monkeypatch):
    settings.FAST_LANE = False
    decision_protocol.heads._known.clear()
    seen = []

    class Hook:
        def has_permission(self, request, view) -> bool:
            meta = request._request.META
            seen.append((meta["REMOTE_ADDR"], meta["REMOTE_PORT"], meta["SERVER_NAME"], request.user.name, request.path))
            return True

    view = decision_protocol._ViewExchange.view
    monkeypatch.setattr(view, "_permissions", [*view._permissions, Hook()])

    async def story(connection, wire):
        answers = []
        for number in range(3):
            connection.client = ("192.0.2.7", number)
            connection.data_received(request(key, number))
            assert not connection.server_state.tasks
            answers.append(await wire.answer())
        connection.data_received(request(key, 4, more=((b"x-forwarded-for", b"192.0.2.9"),)))
        assert len(connection.server_state.tasks) == 1, "whom to believe is for uvicorn to say"
        answers.append(await wire.answer())
        return [answer.status for answer in answers]

    assert play(story) == [200] * 4 and len(decision_protocol.heads._known) == 1
    assert [port for _, port, _, _, _ in seen[:3]] == [0, 1, 2] and seen[0][0] == "192.0.2.7" and seen[0][4] == URL
    assert engine_service().engine.counters.state()["requests"]["drf 2xx"]


def test_a_head_that_is_known_is_not_read_again_and_any_other_is(key):
    decision_protocol.heads._known.clear()
    fed = []

    async def story(connection, wire):
        answers, parser = [], connection.parser

        class Counting:
            def feed_data(self, data: bytes) -> None:
                fed.append(data)
                parser.feed_data(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(parser, name)

        connection.parser = Counting()
        for parts in ([request(key, 1)], [request(key, 2)], [request(key, 100)], [request(key, 3)], halves(request(key, 4))):
            for part in parts:
                connection.data_received(part)
            answers.append(await wire.answer())
        connection.data_received(request("rk_0123456789ab_wrong", 5))
        answers.append(await wire.answer())
        return answers

    def halves(data: bytes) -> list[bytes]:
        return [data[:-9], data[-9:]]

    answers = play(story)
    assert [answer.status for answer in answers] == [200] * 5 + [401]
    # The second and the fourth had the head of the first; that of 100 tells another length, and parts are put together.
    assert len(fed) == len([1, 100, "half of 4", "half of 4", "of another key"])
    assert Decision.objects.count() == 5


def test_a_known_head_of_a_key_that_is_revoked_opens_nothing(key, monkeypatch):
    async def story(connection, wire):
        found = []
        for number in (1, 2):
            connection.data_received(request(key, number))
            found.append((await wire.answer()).status)
        key_cache._known[key] = (time.monotonic() + 5, None)  # what the cache holds once the key has been asked for again
        connection.data_received(request(key, 3))
        return [*found, (await wire.answer()).status]

    assert play(story) == [200, 200, 401]


def test_requests_in_a_pipeline_are_answered_in_order(key):
    async def story(connection, wire):
        get = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
        connection.data_received(request(key, 1) + get + request(key, 2) + request(key, 3))
        return [await wire.answer() for _ in range(4)]

    first, alive, *others = play(story)
    assert [answer.json.get("transaction_id") for answer in (first, alive, *others)] == ["tx-1", None, "tx-2", "tx-3"]


def test_who_does_not_read_answers_waits_for_uvicorns_flow_control(key):
    async def story(connection, wire):
        connection.pause_writing()
        connection.data_received(request(key, 1))
        assert len(connection.server_state.tasks) == 1
        while not engine_service().engine.counters.decisions:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert not wire.written
        connection.resume_writing()
        return await wire.answer()

    assert play(story).status == 200


def test_the_connection_ends_where_the_client_or_the_server_says_so(key):
    async def closed_by_client(connection, wire):
        connection.data_received(request(key, 1, more=((b"connection", b"close"),)))
        return await wire.answer(), wire.closed

    async def closed_by_server(connection, wire):
        connection.data_received(request(key, 2))
        connection.shutdown()
        assert not wire.closed, "the answer is due first"
        return await wire.answer(), wire.closed

    for story in (closed_by_client, closed_by_server):
        answer, closed = play(story)
        assert answer.status == 200 and answer.headers["connection"] == "close" and closed


def test_a_caller_that_went_away_leaves_nothing_behind(key):
    async def story(connection, wire):
        connection.data_received(request(key, 1))
        wire.close()
        connection.connection_lost(None)
        while not engine_service().engine.counters.decisions:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        return bytes(wire.written), connection.timeout_keep_alive_task

    assert play(story) == (b"", None)
    assert Decision.objects.count() == 1, "it was decided all the same"


def test_expectations_are_met_on_uvicorns_way(key):
    async def story(connection, wire):
        whole = request(key, 1, more=((b"expect", b"100-continue"),))
        head = whole.index(b"\r\n\r\n") + 4
        connection.data_received(whole[:head])
        while not wire.written:
            await asyncio.sleep(0.001)
        told = bytes(wire.written)
        wire.written.clear()
        connection.data_received(whole[head:])
        return told, await wire.answer()

    told, answer = play(story)
    assert told == b"HTTP/1.1 100 Continue\r\n\r\n" and answer.status == 200


def test_an_idle_connection_is_closed_in_time_and_a_busy_one_is_not(key):
    async def story(connection, wire):
        connection.timeout_keep_alive = 0.3
        for number in range(4):
            connection.data_received(request(key, number))
            assert (await wire.answer()).status == 200
            await asyncio.sleep(0.15)
        assert not wire.closed, "it has never been idle for so long"
        began = time.monotonic()
        while not wire.closed:
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    assert 0.05 < play(story) < 1.0


def test_what_is_no_http_is_told_so(key):
    async def story(connection, wire):
        connection.data_received(b"hello\r\n\r\n")
        return bytes(wire.written), wire.closed

    written, closed = play(story)
    assert written.startswith(b"HTTP/1.1 400 ") and closed


def test_without_the_fast_lane_the_views_answer(key, settings):
    settings.FAST_LANE = False

    async def story(connection, wire):
        connection.data_received(request(key, 1))
        return await wire.answer()

    assert play(story).status == 200
    assert list(engine_service().engine.counters.state()["requests"]) == ["drf 2xx"]


@pytest.mark.parametrize("is_fast", [True, False])
def test_a_refusal_of_an_overload_goes_out_at_once_and_its_connection_rests(settings, key, is_fast):
    settings.FAST_LANE, settings.OVERLOAD_REFUSALS_PER_SECOND, settings.ENGINE_QUEUE_LIMIT = is_fast, 2.0, 0

    async def story(connection, wire):
        listen, when_listened_to = connection._listen, []

        def listen_and_read() -> None:
            listen()
            since_refused = time.monotonic() - refused
            when_listened_to.append((connection.has_rested, connection.waited_us() >= 1e6 * since_refused))
            connection.data_received(request(key, 3))

        connection._listen = listen_and_read
        connection.data_received(request(key, 1))
        assert (await wire.answer()).status == 503
        assert not connection.flow.read_paused, "the first is within what is saved up"
        connection.data_received(request(key, 2))
        assert (await wire.answer()).status == 503
        refused = time.monotonic()
        assert connection.flow.read_paused and not when_listened_to, "told before it has rested"
        assert (await wire.answer()).status == 503
        # What is read first has come, as far as can be known, while it rested.
        assert when_listened_to == [(True, True)]
        assert not connection.flow.read_paused, "its wait may have been our doing"
        while connection.has_rested:
            await asyncio.sleep(0)
        settings.ENGINE_QUEUE_LIMIT = 100
        connection.data_received(request(key, 4))
        return (await wire.answer()).status

    assert play(story) == 200


def test_what_is_read_late_in_a_turn_of_the_loop_has_waited(key):
    async def story(connection, wire):
        first = connection.waited_us()
        time.sleep(0.01)
        later = connection.waited_us()
        await asyncio.sleep(0.001)
        return first, later, connection.waited_us()

    first, later, next_turn = play(story)
    assert first == next_turn == 0.0 and later >= 10_000


def test_a_request_whose_time_was_over_before_it_was_read_is_refused(key, settings):
    settings.LIVE_DEADLINE_MS = 100

    async def story(connection, wire):
        connection._rested_since = time.monotonic() - 1.0
        connection.data_received(request(key, 1))
        return await wire.answer()

    assert play(story).status == 503 and Decision.objects.count() == 0
