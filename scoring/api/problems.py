"""One shape for every error of the API: application/problem+json (RFC 9457)."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from random import Random
from typing import Any

import msgspec
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from scoring.errors import InvalidInput, ScoringError
from scoring.transactions import holds_card_number

logger = logging.getLogger(__name__)

# Tells requests apart in logs, nothing more. The system's generator would give the interpreter lock away for each.
_random = Random()
CONTENT_TYPE = "application/problem+json"
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
# Error texts of the framework that name a remedy too.
_DRF = {
    exceptions.NotFound: ("not_found", "there is nothing at this address"),
    exceptions.MethodNotAllowed: (
        "method_not_allowed",
        "this address does not take this method; the Allow header lists those that it does",
    ),
    exceptions.UnsupportedMediaType: (
        "unsupported_media_type",
        "send Content-Type: application/json (or application/x-ndjson to the batch endpoint)",
    ),
    exceptions.NotAcceptable: ("not_acceptable", "this API answers application/json; accept that"),
    exceptions.PermissionDenied: ("permission_denied", "this is not permitted with these credentials"),
    exceptions.NotAuthenticated: ("authentication_required", "send a valid API key as 'Authorization: Bearer <key>'"),
    exceptions.AuthenticationFailed: ("authentication_required", "send a valid API key as 'Authorization: Bearer <key>'"),
    exceptions.ParseError: ("malformed_json", "the body is not valid JSON"),
}


def request_id_of(request: HttpRequest) -> str:
    """Return the id under which this request is logged: the caller's X-Request-ID where it is well formed, else a new one."""
    known = getattr(request, "request_id", None)
    if known is None:
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        known = request.request_id = (
            sent if _REQUEST_ID.fullmatch(sent) and not holds_card_number(sent) else f"req_{_random.getrandbits(96):024x}"
        )
    return known


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


def problem_response(body: dict[str, Any], error: Exception | None = None) -> HttpResponse:
    """Return `body` as an answer, with the headers that its status and `error`, where given, ask for."""
    response = HttpResponse(msgspec.json.encode(body), status=body["status"], content_type=CONTENT_TYPE)
    for name, value in _headers_for(body, error).items():
        response[name] = value
    response["X-Request-ID"] = body["request_id"]
    return response


def _headers_for(body: dict[str, Any], error: Exception | None) -> dict[str, str]:
    if body["status"] == 401:
        return {"WWW-Authenticate": 'Bearer realm="risk scoring"'}
    usual = {"Retry-After": "1"} if body["retryable"] else {}
    return usual | dict(error.headers) if isinstance(error, ScoringError) else usual


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's hook: every exception of a view becomes a problem; an unexpected one is logged and told in general words."""
    request = context["request"]
    request_id = request_id_of(getattr(request, "_request", request))
    body = problem_from_exception(error, request_id)
    response = Response(body, status=body["status"], content_type=CONTENT_TYPE, headers=_headers_for(body, error))
    if isinstance(error, exceptions.MethodNotAllowed):
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


def problem_from_exception(error: Exception, request_id: str) -> dict[str, Any]:
    """Return the body for any exception."""
    if isinstance(error, ScoringError):
        return problem_of(error, request_id)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, DjangoPermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        code, detail = next(
            ((c, d) for kind, (c, d) in _DRF.items() if isinstance(error, kind)), ("request_refused", "the request was refused")
        )
        return problem(code, error.status_code, detail, request_id)
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("the database did not answer", exc_info=error, extra={"request_id": request_id})
        return problem(
            "database_unavailable", 503, "the database does not answer; send this again later", request_id, retryable=True
        )
    logger.error("unexpected error", exc_info=error, extra={"request_id": request_id})
    return problem(
        "internal_error", 500, "something failed on our side; it was logged under this request_id", request_id, retryable=True
    )
