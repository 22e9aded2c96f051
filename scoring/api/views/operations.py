"""For operators: is it alive, is it ready, what does it count."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request

from scoring.api.authentication import ApiKeyAuthentication
from scoring.api.keys import Client
from scoring.api.lean import ApiView
from scoring.api.permissions import KeyOrSession
from scoring.decisions.service import engine_service
from scoring.errors import ScopeMissing
from scoring.metrics import prometheus_text


def livez(request: HttpRequest | None) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "alive"})


def readyz(request: HttpRequest | None) -> JsonResponse:
    """The engine has started and the database answers; 503 with what is missing otherwise."""
    thread = engine_service()
    checks = {"engine": thread.ready, "database": _database_answers()}
    program = thread.engine.program_version if thread.engine else None
    ready = all(checks.values())
    body = {"status": "ready" if ready else "not_ready", "checks": checks, "program": program}
    if thread.engine and thread.engine.refused_release:
        # Ready all the same: the program before it, or the rules alone, go on deciding.
        body["refused_release"] = thread.engine.refused_release
    return JsonResponse(body, status=200 if ready else 503)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return True
    except DatabaseError:
        connection.close()
        return False


class MetricsView(ApiView):
    """GET the counters in Prometheus' text format: a key with metrics:read, or a session of the dashboard."""

    authentication_classes = [ApiKeyAuthentication, SessionAuthentication]
    permission_classes = [KeyOrSession]

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        if isinstance(request.user, Client) and "metrics:read" not in request.user.scopes:
            raise ScopeMissing("metrics:read")
        text, content_type = prometheus_text(engine_service().engine)
        return HttpResponse(text, content_type=content_type)
