"""Uvicorn's HTTP protocol, with a way of its own for single decisions.

An ASGI server makes a task, a scope, an event and two messages for each request, which together cost more than all else
that is done for a payment beside the engine. Here a request for one decision, of a caller whose key is remembered, goes
from the parser to the queue, and its answer from the batch to the socket, by plain calls. Everything else, such as a
key that has to be looked up, takes uvicorn's way to `riskapp.asgi`, which answers with the same bytes under any server.
Where the DRF view answers (FAST_LANE=false), its hooks are asked on the same way.

In an overload it is the connections that have to be held back. A request is refused as soon as it is read, and its
connection is not read from again before its turn (scoring.protection.refusal_pace). And a request that is known to have waited
in its socket is admitted, or refused, by what is left of its time.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from io import BytesIO
from typing import NamedTuple

from django.core.handlers.asgi import ASGIRequest
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from scoring.api import fast_lane
from scoring.api.accounting import account_for
from scoring.api.answering import ask_for_one, reply_of_one
from scoring.api.keys import Client, key_cache
from scoring.api.replies import Reply, Sent, error_reply, with_headers
from scoring.api.throttling import rate_headers
from scoring.api.views.decide import DecisionsView
from scoring.decisions.requests import DecisionRequest
from scoring.errors import OVERLOADED, TooManyInFlight
from scoring.hot_settings import hot_settings
from scoring.problems import request_id_from
from scoring.protection.guards import guards

_PATH = b"/api/v1/decisions"
_FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto"))
# What Django would read a body from, which is there already.
_NO_STREAM = BytesIO()


class _NoEvent:
    """What uvicorn sets to wake the coroutine of a request, where there is none."""

    __slots__ = ()

    def set(self) -> None:
        """Wake nobody."""


class _Exchange:
    """One request and its answer. To uvicorn it is a cycle like its own RequestResponseCycle; see there for the attributes."""

    __slots__ = (
        "_began", "_client", "_has_rested", "_protocol", "_request", "_request_id", "_verdict", "_waited_us",
        "body", "disconnected", "head", "keep_alive", "more_body", "response_complete",
    )  # fmt: skip
    message_event = _NoEvent()
    door = "fast"

    def __init__(self, protocol: DecisionProtocol, head: _Head, client: Client) -> None:
        self._began = time.perf_counter()
        self._waited_us, self._has_rested = protocol.waited_us(), protocol.has_rested
        self._protocol, self._client, self.head, self.keep_alive = protocol, client, head, head.keep_alive
        self._request_id = request_id_from(head.headers.request_id)
        self._verdict = None
        self.body = b""
        self.more_body, self.disconnected, self.response_complete = True, False, False

    def begin(self) -> None:
        """Ask for the decision; the body is complete."""
        concurrency, entered = guards().concurrency, False
        try:
            self._let_in()
            entered = concurrency.enter()
            if not entered:
                raise TooManyInFlight(concurrency.limit)
            self._request = self._ask()
        except Exception as error:
            if entered:
                concurrency.leave()
            self._reply(error_reply(error, self._request_id))

    def _let_in(self) -> None:
        self._verdict = fast_lane.admit(self._client)

    def _ask(self) -> DecisionRequest:
        headers = self.head.headers
        of_head = headers.content_type, headers.content_length, self._request_id, headers.deadline_ms
        return ask_for_one(Sent(self.body, *of_head, self._client, self._waited_us), self._decided)

    def _counted(self) -> dict[str, str]:
        return {} if self._verdict is None else self._verdict.headers()

    def _decided(self, results: list) -> None:
        guards().concurrency.leave()
        try:
            reply = reply_of_one(results, self._request, self._request_id)
        except Exception as error:
            reply = error_reply(error, self._request_id)
        self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        if counted := self._counted():
            reply = with_headers(reply, counted)
        self.response_complete = True
        self._protocol.answer(self, reply, self._request_id)
        account_for(self.door, reply.status, reply.code, time.perf_counter() - self._began, self._request_id)
        if reply.code in OVERLOADED:
            self._protocol.rest(self._has_rested)


class _ViewExchange(_Exchange):
    """The same by the DRF view: its hooks are asked, with a request as Django makes it."""

    __slots__ = ("_drf_request", "_http_request")
    door = "drf"
    view = DecisionsView.as_view().lean

    def _let_in(self) -> None:
        self._http_request = request = _copy_of(self.head.request, self._protocol)
        request._body, request.verified_client = self.body, self._client
        request.request_id, request.waited_us = self._request_id, self._waited_us
        self._drf_request = self.view.let_in(request)

    def _ask(self) -> DecisionRequest:
        return self.view.ask(self._drf_request, self._decided)

    def _counted(self) -> dict[str, str]:
        return rate_headers(self._http_request)


def _copy_of(known: ASGIRequest, protocol: DecisionProtocol) -> ASGIRequest:
    """Return the request that the same head makes on this connection; to make it anew takes several times as long."""
    request = ASGIRequest.__new__(ASGIRequest)
    request.__dict__.update(known.__dict__)
    request.scope, request.META = {**known.scope, "client": protocol.client, "server": protocol.server}, known.META.copy()
    if (client := protocol.client) is not None:
        request.META["REMOTE_ADDR"] = request.META["REMOTE_HOST"] = client[0]
        request.META["REMOTE_PORT"] = client[1]
    if (server := protocol.server) is not None:
        request.META["SERVER_NAME"], request.META["SERVER_PORT"] = server[0], str(server[1])
    return request


class _Head(NamedTuple):
    """What the parser made of the head of a request: all of the bytes up to the body.

    Attributes:
        request: the same as Django makes it, for the view; None where the fast lane answers.
    """

    headers: fast_lane.Headers
    keep_alive: bool
    request: ASGIRequest | None = None


class _Heads:
    """Heads that the parser has read. Equal bytes at the start of a message mean the same, and a client's seldom change."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Head] = {}
        self.get = self._known.get

    def learn(self, text: bytes, head: _Head) -> None:
        """Keep what a head meant; one with an id of its own never comes again."""
        if len(text) > _LONGEST_HEAD or head.headers.request_id:
            return
        if len(self._known) >= _MOST_HEADS:
            self._known.clear()
        self._known[text] = head


_MOST_HEADS, _LONGEST_HEAD = 1024, 2048
_END = b"\r\n\r\n"
heads = _Heads()


class DecisionProtocol(HttpToolsProtocol):
    """One connection."""

    _chunk = b""  # what the parser is being fed with, where that began with a message
    _in_message = False
    _idle_since = 0.0
    _rested_since: float | None = None  # while what comes may have waited since then, as the connection was not listened to

    def data_received(self, data: bytes) -> None:
        if self._in_message or not (self.cycle is None or self.cycle.response_complete):
            super().data_received(data)
            return
        end = data.find(_END) + 4
        head = heads.get(data[:end])
        if head is not None and end + head.headers.content_length == len(data):
            exchange = self._exchange_of(head)
            if exchange is not None:
                self.cycle = exchange
                exchange.body, exchange.more_body = data[end:], False
                exchange.begin()
                return
        self._chunk = data
        super().data_received(data)
        self._chunk = b""

    def on_message_begin(self) -> None:
        self._in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.url == _PATH and (exchange := self._new_exchange()) is not None:
            self.cycle = exchange
        else:
            self.scope[fast_lane.WAITED_US], self.scope[fast_lane.REST] = self.waited_us(), partial(self.rest, self.has_rested)
            super().on_headers_complete()

    def _new_exchange(self) -> _Exchange | None:
        """Return a cycle for the request whose headers have come; None where it takes uvicorn's way."""
        parser = self.parser
        if (
            parser.get_method() != b"POST"
            or (self.cycle is not None and not self.cycle.response_complete)  # pipelined
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
            or self.expect_100_continue
            or self.root_path
        ):
            return None
        request = None
        if not hot_settings.FAST_LANE:
            if any(name in _FORWARDED for name, _ in self.headers):
                return None  # uvicorn's middleware knows whom to believe
            path = {"method": "POST", "path": _PATH.decode(), "raw_path": _PATH, "query_string": b""}
            request = ASGIRequest(self.scope | path, _NO_STREAM)
        return self._exchange_of(_Head(fast_lane.Headers(self.headers), parser.should_keep_alive(), request))

    def _exchange_of(self, head: _Head) -> _Exchange | None:
        """Return a cycle for a request with this head; None where its caller has to be looked up, or does not read answers."""
        if not 0 < head.headers.content_length <= hot_settings.MAX_BODY_BYTES:
            return None
        client = None if self.flow.write_paused else key_cache.caller(head.headers.authorization)
        if client is None:
            return None
        if hot_settings.FAST_LANE:
            return _Exchange(self, head, client)
        return None if head.request is None else _ViewExchange(self, head, client)

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if isinstance(cycle, _Exchange):
            cycle.body = cycle.body + body if cycle.body else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        cycle = self.cycle
        if isinstance(cycle, _Exchange):
            cycle.more_body = False
            self._learn(cycle)
            cycle.begin()
        else:
            super().on_message_complete()

    def _learn(self, exchange: _Exchange) -> None:
        """Remember the head of a message that came in one piece, and nothing with it."""
        end = self._chunk.find(_END) + 4
        if end >= 4 and end + exchange.head.headers.content_length == len(self._chunk):
            heads.learn(self._chunk[:end], exchange.head)

    def answer(self, exchange: _Exchange, reply: Reply, request_id: str) -> None:
        """Send an answer, and go on with what the connection has sent meanwhile."""
        transport = self.transport
        if not (exchange.disconnected or transport.is_closing()):
            transport.write(
                b"%b%b%bx-request-id: %b\r\ncontent-length: %d\r\n%b\r\n%b"
                % (
                    STATUS_LINE[reply.status],
                    _lines_of_server(self.server_state.default_headers),
                    _lines_of(reply.headers),
                    request_id.encode(),
                    len(reply.body),
                    b"" if exchange.keep_alive else b"connection: close\r\n",
                    reply.body,
                )
            )
            if not exchange.keep_alive:
                transport.close()
        self.on_response_complete()

    # --- overload ----------------------------------------------------------------------------------------------------------

    def waited_us(self) -> float:
        """Return for how long, at most, what has just been read was in the socket and could have been read, microseconds."""
        now = time.monotonic()  # the loop's own clock stands still while it reads
        since = _reading.began(self.loop, now) if self._rested_since is None else self._rested_since
        return 1e6 * (now - since)

    @property
    def has_rested(self) -> bool:
        """Whether what has just been read may have come while the connection was not listened to."""
        return self._rested_since is not None

    def rest(self, has_rested: bool) -> None:
        """Read nothing more before this connection's turn: a request was refused in an overload, and has been told so.

        Args:
            has_rested: what it was when that request was read. If so, the wait here may be why: its successor has a fair chance.
        """
        if has_rested:
            guards().refusals.count()
        elif not self.transport.is_closing() and guards().refusals.has_to_rest(self._listen):
            self._rested_since = time.monotonic()
            self.flow.pause_reading()

    def _listen(self) -> None:
        self.flow.resume_reading()
        # What had come by now is read behind the first of these, and before the second.
        self.loop.call_soon(self.loop.call_soon, self._has_listened)

    def _has_listened(self) -> None:
        if not self.flow.read_paused:
            self._rested_since = None

    # --- the time limit for idle connections: one timer, set anew when it has gone off, instead of one a request ----------

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._set_timer(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._in_message or not self.cycle.response_complete:
            return  # the end of the answer sets it again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._set_timer(left)
        else:
            super().timeout_keep_alive_handler()

    def _set_timer(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """Nothing: the timer looks whether the connection is idle."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)


class _Reading:
    """When the event loop began to read what had come: all that it reads until it is through was there by then, or later."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = 0.0

    def began(self, loop: asyncio.AbstractEventLoop, now: float) -> float:
        """Return the time of the first call of this turn of the loop."""
        if self._loop is not loop:
            self._loop, self._began = loop, now
            loop.call_soon(self._end)
        return self._began

    def _end(self) -> None:
        self._loop = None


_reading = _Reading()


def _lines_of(headers: tuple[tuple[str, str], ...]) -> bytes:
    known = _LINES.get(headers)
    if known is None:
        known = b"".join(b"%b: %b\r\n" % (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)
        if len(_LINES) < _MOST_LINES:
            _LINES[headers] = known
    return known


_LINES: dict[tuple[tuple[str, str], ...], bytes] = {}
_MOST_LINES = 256  # those of a rate limit hold numbers that never come again


class _ServerLines:
    """The headers of the server, which uvicorn makes anew once a second, as one text."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._lines = b""

    def __call__(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._headers, self._lines = headers, b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._lines


_lines_of_server = _ServerLines()
