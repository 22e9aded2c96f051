"""Labels: what became known about transactions."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from scoring.api import openapi
from scoring.api.lean import ApiView
from scoring.api.problems import request_id_of
from scoring.errors import InvalidInput
from scoring.services.record_labels import record_labels
from scoring.transactions import FieldFault


class LabelsView(ApiView):
    """POST one label, an array of them, or {"labels": [...]}."""

    required_scopes = {"POST": "labels:write"}
    max_body_bytes = settings.MAX_BATCH_BODY_BYTES

    @extend_schema(operation_id="record_labels", summary="Record one or many labels", tags=["labels"], **openapi.LABELS)
    def post(self, request: Request) -> Response:
        labels, single = _labels_in(request.data)
        if not 1 <= len(labels) <= settings.MAX_BATCH_ITEMS:
            raise InvalidInput([FieldFault("", "batch_size", f"send 1 to {settings.MAX_BATCH_ITEMS} labels at once")])
        results = record_labels(labels, request.user.name)
        if single and "error" in results[0]:
            body = results[0]["error"] | {"request_id": request_id_of(request._request)}
            return Response(body, status=body["status"], content_type="application/problem+json")
        return Response({"results": results}, status=results[0]["status"] if single else 200)


def _labels_in(data: object) -> tuple[list, bool]:
    """Return (labels, whether one was sent by itself)."""
    if isinstance(data, list):
        return data, False
    if isinstance(data, dict) and set(data) == {"labels"} and isinstance(data["labels"], list):
        return data["labels"], False
    return [data], True
