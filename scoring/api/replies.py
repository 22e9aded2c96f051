"""An answer of the decision path before either door has made it its own: status, headers and bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from rest_framework.exceptions import MethodNotAllowed

from scoring.api.keys import Client
from scoring.api.problems import headers_for, problem_from_exception
from scoring.problems import CONTENT_TYPE

JSON, NDJSON = "application/json", "application/x-ndjson"


class Reply(NamedTuple):
    """What is sent; `headers` are (name, value), the content type first, without the request id and the length.

    `code` is a problem's, for the log.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    code: str = ""


class Sent(NamedTuple):
    """A request of a caller that was let in.

    Attributes:
        body: what was sent, at most its first bytes beyond the limit.
        content_type: its media type, in lower case and without parameters.
        announced: its length as it was announced.
        deadline_ms: X-Deadline-Ms as it was sent, "" where it was not.
        waited_us: for how long, at most, it is known to have waited before it was read, microseconds.
    """

    body: bytes
    content_type: str
    announced: int
    request_id: str
    deadline_ms: str
    client: Client
    waited_us: float = 0.0


def problem_reply(body: dict[str, Any], error: Exception | None = None) -> Reply:
    """Return `body`, a problem, with the headers that its status and `error`, where given, ask for."""
    headers = headers_for(body, error)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = "GET, POST, HEAD, OPTIONS"
    return Reply(body["status"], (("Content-Type", CONTENT_TYPE), *headers.items()), msgspec.json.encode(body), body["code"])


def error_reply(error: Exception, request_id: str) -> Reply:
    """Return what is sent for any exception."""
    return problem_reply(problem_from_exception(error, request_id), error)


def with_headers(reply: Reply, added: dict[str, str]) -> Reply:
    """Return the reply with more headers behind its content type; its own count where both have one."""
    (first, *own), names = reply.headers, {name for name, _ in reply.headers}
    return reply._replace(headers=(first, *((name, of) for name, of in added.items() if name not in names), *own))
