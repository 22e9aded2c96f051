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
# Tells requests apart in logs, nothing more. The system's generator would give the interpreter lock away for each.
_random = Random()
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


def request_id_from(sent: str) -> str:
    """Return the id under which a request is logged: the caller's where it is well formed, else a new one."""
    if sent and _REQUEST_ID.fullmatch(sent) and not holds_card_number(sent):
        return sent
    return f"req_{_random.getrandbits(96):024x}"


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
