"""What Django itself refuses: a problem below /api/, a page elsewhere."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from scoring.api.problems import problem_response, request_id_of
from scoring.problems import problem

_API = "/api/"


def _problem(request: HttpRequest, code: str, status: int, detail: str, *, retryable: bool = False) -> HttpResponse:
    return problem_response(problem(code, status, detail, request_id_of(request), retryable=retryable))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(_API):
        return _problem(request, "bad_request", 400, "the request is malformed; check the Host header and the address")
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(_API):
        return _problem(request, "permission_denied", 403, "this is not permitted with these credentials")
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(_API):
        return _problem(request, "not_found", 404, "there is nothing at this address; /api/v1/docs lists what there is")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if request.path.startswith(_API):
        return _problem(
            request, "internal_error", 500, "something failed on our side; it was logged under this request_id", retryable=True
        )
    return defaults.server_error(request)
