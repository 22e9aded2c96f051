"""The short way to a decision: ASGI without Django's request and without DRF, for the addresses that have to be quick.

It asks the same questions as the DRF views in the same order, of the same objects, and gives the same bytes:
`tests/scoring/api/test_same_answers.py` holds the two together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from scoring.api.keys import Client
from scoring.api.lean import client_of
from scoring.api.replies import JSON, Reply, Sent, error_reply, with_headers
from scoring.api.throttling import take_tokens
from scoring.errors import AuthenticationRequired, ScopeMissing
from scoring.problems import request_id_from
from scoring.protection.guards import guards
from scoring.protection.token_bucket import RateVerdict

SCOPE = "decisions:write"
# What our own server's scope says beside the usual: how long the request may have waited in its socket, and what to call once it
# has been refused in an overload, so that its connection rests.
WAITED_US, REST = "riskapp.waited_us", "riskapp.rest"
Answer = Callable[[Sent], Awaitable[Reply]]


class CallerGone(Exception):
    """The connection closed before the body was complete."""


class Headers:
    """The headers that matter here; one that is sent twice is joined by a comma, as Django does it.

    Args:
        sent: name, in lower case, and value of each.
    """

    __slots__ = ("authorization", "content_length", "content_type", "deadline_ms", "request_id")

    def __init__(self, sent: Iterable[tuple[bytes, bytes]]) -> None:
        found: dict[bytes, bytes] = {}
        for name, value in sent:
            if name in _READ:
                found[name] = found[name] + b"," + value if name in found else value
        content_type, length = found.get(b"content-type", b""), found.get(b"content-length", b"")
        self.authorization = found.get(b"authorization", b"").decode("latin-1")
        self.content_type = JSON if content_type == b"application/json" else _media_type(content_type)
        self.content_length = int(length) if length.isdigit() else 0
        self.deadline_ms = found.get(b"x-deadline-ms", b"").decode("latin-1")
        self.request_id = found.get(b"x-request-id", b"").decode("latin-1")


_READ = frozenset((b"authorization", b"content-type", b"content-length", b"x-request-id", b"x-deadline-ms"))


def _media_type(value: bytes) -> str:
    return value.decode("latin-1").partition(";")[0].strip().lower()


async def serve(scope: dict[str, Any], receive: Any, answer: Answer, limit: int) -> tuple[Reply, str]:
    """Return the reply to one POST, and its request id.

    Raises:
        CallerGone: there is nobody to reply to.
    """
    headers = Headers(scope["headers"])
    request_id, verdict = request_id_from(headers.request_id), None
    try:
        # Who has no valid key sends no body either.
        client = await client_of(headers.authorization)
        if client is None:
            raise AuthenticationRequired
        verdict = admit(client)
        with guards().concurrency.holding():
            body = await read_body(receive, limit) if headers.content_length <= limit else b""
            waited_us = scope.get(WAITED_US, 0.0)
            sent = Sent(body, headers.content_type, headers.content_length, request_id, headers.deadline_ms, client, waited_us)
            reply = await answer(sent)
    except CallerGone:
        raise
    except Exception as error:
        reply = error_reply(error, request_id)
    return reply if verdict is None else with_headers(reply, verdict.headers()), request_id


def admit(client: Client) -> RateVerdict | None:
    """Let a caller ask for a decision; return what its limit says, None where it has none.

    Raises:
        ScopeMissing, RateLimited: it may not.
    """
    if SCOPE not in client.scopes:
        raise ScopeMissing(SCOPE)
    return take_tokens(client)


async def read_body(receive: Any, limit: int) -> bytes:
    """Return the body, or its first bytes beyond the limit.

    Raises:
        CallerGone: the connection closed before its end.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise CallerGone
    body = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body") and size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return b"".join(parts)


async def send_reply(reply: Reply, request_id: str, send: Any) -> None:
    """Send a reply with its request id and length."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    headers.append((b"x-request-id", request_id.encode("latin-1")))
    await send_bytes(reply.status, headers, reply.body, send)


async def send_bytes(status: int, headers: list[tuple[bytes, bytes]], body: bytes, send: Any) -> None:
    """Send a whole answer, with its length behind its headers."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
