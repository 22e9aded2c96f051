"""One shape for every error that is told outside: the body of application/problem+json (RFC 9457), and request ids."""

from __future__ import annotations

import re
from http import HTTPStatus
from random import Random
from typing import Any

import msgspec

from scoring.errors import InvalidInput, ScoringError
from scoring.transactions import holds_card_number

CONTENT_TYPE = "application/problem+json"
# Tells requests apart in logs, nothing more. The system's generator would give the interpreter lock away.
_random = Random()
_made: list[str] = []  # ids that nobody has yet; made in blocks, as one by one they cost several times as much
_BLOCK, _DIGITS = 256, 24
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


def request_id_from(sent: str) -> str:
    """Return the id under which a request is logged: the caller's where it is well formed, else a new one."""
    if sent and _REQUEST_ID.fullmatch(sent) and not holds_card_number(sent):
        return sent
    try:
        return _made.pop()  # in one step, whichever thread asks
    except IndexError:
        return _make_ids()


def _make_ids() -> str:
    """Make a block of ids; return one of them."""
    text = _random.randbytes(_BLOCK * _DIGITS // 2).hex()
    first, *others = (f"req_{text[at : at + _DIGITS]}" for at in range(0, len(text), _DIGITS))
    _made.extend(others)
    return first


def problem(
    code: str, status: int, detail: str, request_id: str, *, retryable: bool = False, errors: list | None = None
) -> dict[str, Any]:
    """Return the body of an error answer."""
    body: dict[str, Any] = {
        "type": f"urn:riskapp:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        "retryable": retryable,
    }
    if errors:
        body["errors"] = [msgspec.to_builtins(fault) for fault in errors]
    return body


def problem_of(error: ScoringError, request_id: str) -> dict[str, Any]:
    """Return the body for one of the application's own errors."""
    faults = error.faults if isinstance(error, InvalidInput) else None
    return problem(error.code, error.status, str(error), request_id, retryable=error.retryable, errors=faults)
