"""Ways to the API: Django's test client, and the ASGI application that the server runs, spoken to directly.

DOORS are the five ways that a decision can take: through the server's protocol, alone or by the hooks of the DRF view, and, as
messages to that application, by the fast lane, the DRF views without Django's handler, and Django's own handling.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

from django.test import Client as DjangoClient
from django.test import override_settings
from uvicorn.config import Config
from uvicorn.server import ServerState

JSON, NDJSON, PROBLEM = "application/json", "application/x-ndjson", "application/problem+json"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def content_type(self) -> str:
        return self.headers["content-type"]


class ApiClient:
    """Sends requests; `key` is the API key of every request that names no Authorization header of its own."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key

    def send(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        raise NotImplementedError

    def post(self, path: str, body: Any, content_type: str = JSON, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send(
            "POST", path, raw, {"content-type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}
        )

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def _headers(self, given: dict[str, str] | None) -> dict[str, str]:
        key = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return key | {name.lower(): value for name, value in (given or {}).items()}


class ThroughDjango(ApiClient):
    """The views behind Django's own request handling and middlewares."""

    def send(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        headers = self._headers(headers)
        client = DjangoClient(raise_request_exception=False)
        content_type = headers.pop("content-type", "")
        # The test client leaves the type of an empty body out, which a real one does not.
        response = client.generic(method, path, body, content_type, headers=headers, CONTENT_TYPE=content_type)
        content = response.getvalue() if response.streaming else response.content
        return Answer(response.status_code, {name.lower(): value for name, value in response.items()}, content)


class ThroughAsgi(ApiClient):
    """riskapp.asgi.application, with the short way for decisions."""

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> Answer:
        """Send one request; with `chunks` the body comes in parts and its length is not told."""
        return asyncio.run(self.conversation(method, path, body, headers, chunks))

    async def conversation(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> Answer:
        """Do what `send` does within a running loop, where several may go on at once."""
        headers = {"host": "127.0.0.1"} | self._headers(headers)
        if chunks is None:
            headers.setdefault("content-length", str(len(body)))
        given = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        return await self.exchange(method, path, given, list(chunks) if chunks is not None else [body])

    async def exchange(self, method: str, path: str, headers: list[tuple[bytes, bytes]], parts: list[bytes]) -> Answer:
        """Send exactly these headers, and the body in these parts."""
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8_000),
        }
        return await _converse(self.application(), scope, parts)

    def application(self) -> Any:
        """Return what the messages are sent to."""
        from riskapp.asgi import application

        return application


class ThroughFastLane(ThroughAsgi):
    """riskapp.asgi.application with FAST_LANE."""

    fast_lane = True

    async def exchange(self, method: str, path: str, headers: list[tuple[bytes, bytes]], parts: list[bytes]) -> Answer:
        with override_settings(FAST_LANE=self.fast_lane):
            return await super().exchange(method, path, headers, parts)


class ThroughViews(ThroughFastLane):
    """riskapp.asgi.application without FAST_LANE: the DRF views, called without Django's handler."""

    fast_lane = False


class ThroughDjangoAsgi(ThroughAsgi):
    """Django's own ASGI handler and its middlewares, behind the bound that the server puts on bodies."""

    def application(self) -> Any:
        from riskapp.asgi import _django
        from riskapp.body_limit import within_limit

        return partial(within_limit, _django)


async def _converse(application: Any, scope: dict, parts: list[bytes]) -> Answer:
    waiting = [{"type": "http.request", "body": part, "more_body": i + 1 < len(parts)} for i, part in enumerate(parts)]
    sent: list[dict] = []

    async def receive() -> dict:
        if waiting:
            return waiting.pop(0)
        await asyncio.Future()  # the connection stays open until the answer is complete
        raise AssertionError("unreachable")

    async def send(message: dict) -> None:
        sent.append(message)

    await asyncio.wait_for(application(scope, receive, send), 30)
    start = sent[0]
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


class Wire:
    """The transport of one connection: what is written to it is kept."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = self.paused = False
        self.news = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.written += data
        self.news.set()

    def close(self) -> None:
        self.closed = True
        self.news.set()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 8_000), "peername": ("127.0.0.1", 50_000)}.get(name, default)

    async def answer(self) -> Answer:
        """Take the next answer off."""
        while (end := self.written.find(b"\r\n\r\n")) < 0:
            await self._more()
        status, *lines = bytes(self.written[:end]).split(b"\r\n")
        headers = dict(line.decode("latin-1").split(": ", 1) for line in lines)
        size = end + 4 + int(headers["content-length"])
        while len(self.written) < size:
            await self._more()
        body = bytes(self.written[end + 4 : size])
        del self.written[:size]
        return Answer(int(status.split()[1]), headers, body)

    async def _more(self) -> None:
        self.news.clear()
        await asyncio.wait_for(self.news.wait(), 30)


def connect(application: Any, protocol: type | None = None, server_headers: list[tuple[bytes, bytes]] = ()) -> tuple[Any, Wire]:
    """Return a connection of the server's protocol in front of an application, and its wire; for a running loop."""
    from riskapp.decision_protocol import DecisionProtocol

    config = Config(application, loop="asyncio", http=protocol or DecisionProtocol, ws="none", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    state.default_headers = list(server_headers)
    connection, wire = config.http_protocol_class(config, state, {}, asyncio.get_running_loop()), Wire()
    connection.connection_made(wire)
    return connection, wire


def in_bytes(method: str, path: str, headers: list[tuple[bytes, bytes]], parts: list[bytes]) -> list[bytes]:
    """Return a request as it goes over the wire, its head and each part by itself; in chunks where no length is told."""
    is_told = any(name == b"content-length" for name, _ in headers)
    lines = [b"%b %b HTTP/1.1" % (method.encode(), path.encode()), *(b"%b: %b" % header for header in headers)]
    if not is_told:
        lines.append(b"transfer-encoding: chunked")
        parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part] + [b"0\r\n\r\n"]
    return [b"\r\n".join(lines) + b"\r\n\r\n", *(part for part in parts if part)]


class ThroughProtocol(ThroughFastLane):
    """The server's own protocol, fed with the bytes of a request."""

    is_fast = True

    async def exchange(self, method: str, path: str, headers: list[tuple[bytes, bytes]], parts: list[bytes]) -> Answer:
        with override_settings(FAST_LANE=self.is_fast):
            connection, wire = connect(self.application())
            for part in in_bytes(method, path, headers, parts):
                connection.data_received(part)
            try:
                return await wire.answer()
            finally:
                connection.connection_lost(None)


class ThroughProtocolToViews(ThroughProtocol):
    """The same, where the DRF view's hooks are asked."""

    is_fast = False


WAYS = {"django": ThroughDjango, "asgi": ThroughAsgi}
DOORS = {
    "protocol": ThroughProtocol, "protocol, views": ThroughProtocolToViews,
    "fast lane": ThroughFastLane, "views": ThroughViews, "django": ThroughDjangoAsgi,
}  # fmt: skip
