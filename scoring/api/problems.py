"""Errors of the API as DRF and Django send them; `scoring.problems` says what is in them."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from scoring.errors import ScoringError
from scoring.problems import CONTENT_TYPE, problem, problem_of, request_id_from

logger = logging.getLogger(__name__)

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
    """Return the id under which this request is logged; see `request_id_from`."""
    known = getattr(request, "request_id", None)
    if known is None:
        known = request.request_id = request_id_from(request.META.get("HTTP_X_REQUEST_ID", ""))
    return known


def problem_response(body: dict[str, Any], error: Exception | None = None) -> HttpResponse:
    """Return `body` as an answer, with the headers that its status and `error`, where given, ask for."""
    response = HttpResponse(msgspec.json.encode(body), status=body["status"], content_type=CONTENT_TYPE)
    for name, value in headers_for(body, error).items():
        response[name] = value
    response["X-Request-ID"] = body["request_id"]
    return response


def headers_for(body: dict[str, Any], error: Exception | None = None) -> dict[str, str]:
    """Return the headers that the status of a problem asks for, and those that the error behind it brings."""
    if body["status"] == 401:
        return {"WWW-Authenticate": 'Bearer realm="risk scoring"'}
    usual = {"Retry-After": "1"} if body["retryable"] else {}
    return usual | dict(error.headers) if isinstance(error, ScoringError) else usual


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's hook: every exception of a view becomes a problem; an unexpected one is logged and told in general words."""
    request = context["request"]
    request_id = request_id_of(getattr(request, "_request", request))
    body = problem_from_exception(error, request_id)
    response = Response(body, status=body["status"], content_type=CONTENT_TYPE, headers=headers_for(body, error))
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
