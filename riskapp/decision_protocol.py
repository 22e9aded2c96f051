"""Uvicorn's HTTP protocol, with a way of its own for single decisions.

An ASGI server makes a task, a scope, an event and two messages for each request, which together cost more than all else
that is done for a payment beside the engine. Here a request for one decision, of a caller whose key is remembered, goes
from the parser to the queue, and its answer from the batch to the socket, by plain calls. Everything else, such as a
key that has to be looked up, takes uvicorn's way to `riskapp.asgi`, which answers with the same bytes under any server.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from scoring.api import fast_lane
from scoring.api.accounting import account_for
from scoring.api.answering import ask_for_one, reply_of_one
from scoring.api.keys import Client, key_cache
from scoring.api.replies import Reply, Sent, error_reply
from scoring.errors import TooManyInFlight
from scoring.hot_settings import hot_settings
from scoring.problems import request_id_from
from scoring.protection.guards import guards

_PATH = b"/api/v1/decisions"


class _NoEvent:
    """What uvicorn sets to wake the coroutine of a request, where there is none."""

    __slots__ = ()

    def set(self) -> None:
        """Wake nobody."""


class _Exchange:
    """One request and its answer. To uvicorn it is a cycle like its own RequestResponseCycle; see there for the attributes."""

    __slots__ = (
        "_began", "_client", "_protocol", "_request", "_request_id", "_verdict",
        "body", "disconnected", "head", "keep_alive", "more_body", "response_complete",
    )  # fmt: skip
    message_event = _NoEvent()

    def __init__(self, protocol: DecisionProtocol, head: _Head, client: Client) -> None:
        self._began = time.perf_counter()
        self._protocol, self._client, self.head, self.keep_alive = protocol, client, head, head.keep_alive
        self._request_id = request_id_from(head.headers.request_id)
        self._verdict = None
        self.body = b""
        self.more_body, self.disconnected, self.response_complete = True, False, False

    def begin(self) -> None:
        """Ask for the decision; the body is complete."""
        headers, client = self.head.headers, self._client
        concurrency, entered = guards().concurrency, False
        try:
            self._verdict = fast_lane.admit(client)
            entered = concurrency.enter()
            if not entered:
                raise TooManyInFlight(concurrency.limit)
            sent = Sent(self.body, headers.content_type, headers.content_length, self._request_id, headers.deadline_ms, client)
            self._request = ask_for_one(sent, self._decided)
        except Exception as error:
            if entered:
                concurrency.leave()
            self._reply(error_reply(error, self._request_id))

    def _decided(self, results: list) -> None:
        guards().concurrency.leave()
        try:
            reply = reply_of_one(results, self._request, self._request_id)
        except Exception as error:
            reply = error_reply(error, self._request_id)
        self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        if self._verdict is not None:
            reply = fast_lane.with_headers(reply, self._verdict.headers())
        self.response_complete = True
        self._protocol.answer(self, reply, self._request_id)
        account_for("fast", reply.status, reply.code, time.perf_counter() - self._began, self._request_id)


class _Head(NamedTuple):
    """What the parser made of the head of a request: all of the bytes up to the body."""

    headers: fast_lane.Headers
    keep_alive: bool


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
        return self._exchange_of(_Head(fast_lane.Headers(self.headers), parser.should_keep_alive()))

    def _exchange_of(self, head: _Head) -> _Exchange | None:
        """Return a cycle for a request with this head; None where its caller has to be looked up, or does not read answers."""
        if not (0 < head.headers.content_length <= hot_settings.MAX_BODY_BYTES and hot_settings.FAST_LANE):
            return None
        client = None if self.flow.write_paused else key_cache.caller(head.headers.authorization)
        return None if client is None else _Exchange(self, head, client)

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if type(cycle) is _Exchange:
            cycle.body = cycle.body + body if cycle.body else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        cycle = self.cycle
        if type(cycle) is _Exchange:
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
