"""Deciding: one transaction, a batch, and a dry run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response

from scoring.api import openapi
from scoring.api.lean import LeanView
from scoring.api.problems import problem_of, request_id_of
from scoring.api.reading import read_transaction, split_items
from scoring.decisions.engine import Decided, PendingDecision, pending
from scoring.decisions.engine_thread import engine_thread
from scoring.errors import BodyTooLarge, ScoringError
from scoring.selectors.ledger_pages import ledger_page, read_query
from scoring.transactions import Transaction

JSON, NDJSON = "application/json", "application/x-ndjson"


def _body(request: HttpRequest, limit: int, *media_types: str) -> bytes:
    """Return the body, refused where it is too large or of another type."""
    if request.content_type not in media_types:
        raise UnsupportedMediaType(request.content_type)
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
        raise BodyTooLarge(limit)
    body = getattr(request, "_body", None)
    body = request.read(limit + 1) if body is None else body
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body


class DecisionsView(LeanView):
    """POST decides on one transaction, GET lists decisions."""

    required_scopes = {"POST": "decisions:write", "GET": "decisions:read"}

    @extend_schema(operation_id="decide", summary="Decide on one transaction", tags=["decisions"], **openapi.DECIDE)
    async def post(self, request: HttpRequest) -> HttpResponse:
        received_at = datetime.now(UTC)
        transaction = read_transaction(_body(request, settings.MAX_BODY_BYTES, JSON), received_at)
        (result,) = await engine_thread().submit([pending(transaction, received_at)])
        if not isinstance(result, Decided):
            raise result
        response = HttpResponse(result.body, content_type=JSON)
        if result.replayed:
            response["Idempotent-Replayed"] = "true"
        return response

    @extend_schema(operation_id="list_decisions", summary="List decisions, newest first", tags=["decisions"], **openapi.LIST)
    def get(self, request: Request) -> Response:
        page = ledger_page(read_query(request.query_params))
        return Response({"decisions": [msgspec.Raw(text.encode()) for text in page.responses], "next_cursor": page.next_cursor})


class BatchView(LeanView):
    """POST many transactions; each gets its own result, in order."""

    required_scopes = {"POST": "decisions:write"}

    @extend_schema(
        operation_id="decide_batch", summary="Decide on up to 10,000 transactions", tags=["decisions"], **openapi.BATCH
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        received_at = datetime.now(UTC)
        body = _body(request, settings.MAX_BATCH_BODY_BYTES, JSON, NDJSON)
        ndjson = request.content_type == NDJSON
        accepted: list[PendingDecision] = []
        outcomes = [_read(item, received_at, accepted) for item in split_items(body, ndjson=ndjson)]
        decided = iter(await engine_thread().submit(accepted) if accepted else [])
        results = [next(decided) if outcome is None else outcome for outcome in outcomes]
        if (engine := engine_thread().engine) is not None:
            engine.counters.refused += len(outcomes) - len(accepted)
        request_id = request_id_of(request)
        lines = [_line(i, result, request_id) for i, result in enumerate(results)]
        if ndjson:
            return HttpResponse(b"\n".join(lines) + b"\n", content_type=NDJSON)
        good = sum(isinstance(result, Decided) for result in results)
        tail = b'],"accepted":%d,"refused":%d}' % (good, len(results) - good)
        return HttpResponse(b'{"results":[' + b",".join(lines) + tail, content_type=JSON)


def _read(item: bytes, received_at: datetime, accepted: list[PendingDecision]) -> ScoringError | None:
    """Add the item to `accepted`, or return why it is refused."""
    try:
        if len(bytes(item)) > settings.MAX_BODY_BYTES:
            raise BodyTooLarge(settings.MAX_BODY_BYTES)
        accepted.append(pending(read_transaction(item, received_at), received_at))
    except ScoringError as error:
        return error
    return None


def _line(index: int, result: Decided | ScoringError, request_id: str) -> bytes:
    """Return one result of a batch; the stored answer goes in byte for byte."""
    if isinstance(result, Decided):
        return b'{"index":%d,"status":200,"replayed":%s,"decision":%s}' % (
            index,
            b"true" if result.replayed else b"false",
            result.body,
        )
    return msgspec.json.encode({"index": index, "status": result.status, "error": problem_of(result, request_id)})


class DryRunView(LeanView):
    """POST one transaction for the answer that it would get; nothing is stored, remembered or counted."""

    required_scopes = {"POST": "decisions:write"}

    @extend_schema(
        operation_id="dry_run", summary="Score one transaction without any effect", tags=["decisions"], **openapi.DRY_RUN
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        received_at = datetime.now(UTC)
        transaction = read_transaction(_body(request, settings.MAX_BODY_BYTES, JSON), received_at)
        body = await asyncio.wrap_future(engine_thread().call(lambda engine: _dry_run(engine, transaction, received_at)))
        return HttpResponse(body, content_type=JSON)


def _dry_run(engine, transaction: Transaction, received_at: datetime) -> bytes:
    bodies, rows = engine.dry_run([transaction], received_at)
    answer, values = msgspec.json.decode(bodies[0]), rows[0].tolist()
    features = {name: None if value != value else value for name, value in zip(engine.schema.names, values, strict=True)}
    return msgspec.json.encode(answer | {"decision_id": None, "status": "dry_run", "features": features})
