"""The service behind both doors: from a caller that was let in and the body it sent, to a reply."""

from __future__ import annotations

import asyncio

import msgspec
from django.conf import settings
from rest_framework.exceptions import UnsupportedMediaType

from scoring.api.replies import JSON, NDJSON, Reply
from scoring.decisions.engine import DecisionEngine
from scoring.decisions.requests import Decided, DecisionRequest, request_now
from scoring.decisions.service import engine_service
from scoring.errors import BodyTooLarge, InvalidInput, ScoringError
from scoring.problems import problem_of
from scoring.reading import split_items

_JSON_HEADERS = (("Content-Type", JSON),)
_REPLAYED_HEADERS = (*_JSON_HEADERS, ("Idempotent-Replayed", "true"))
_NDJSON_HEADERS = (("Content-Type", NDJSON),)


def check_body(body: bytes, content_type: str, limit: int, announced: int, *media_types: str) -> None:
    """Refuse a body of another type, or one that is, or was said to be, larger than `limit` bytes.

    Raises:
        UnsupportedMediaType, BodyTooLarge: as said.
    """
    if content_type not in media_types:
        raise UnsupportedMediaType(content_type)
    if announced > limit or len(body) > limit:
        raise BodyTooLarge(limit)


async def answer_one(body: bytes, content_type: str, announced: int, request_id: str) -> Reply:
    """Decide on the one transaction in `body`.

    Raises:
        ScoringError, UnsupportedMediaType: there is no decision, and why.
    """
    check_body(body, content_type, settings.MAX_BODY_BYTES, announced, JSON)
    (result,) = await engine_service().submit((request_now(body),))
    if not isinstance(result, Decided):
        raise result
    return Reply(200, _REPLAYED_HEADERS if result.replayed else _JSON_HEADERS, result.body)


async def answer_batch(body: bytes, content_type: str, announced: int, request_id: str) -> Reply:
    """Decide on the transactions in `body`, an array or lines; each has its own result, in order.

    Raises:
        ScoringError, UnsupportedMediaType: the body as a whole is refused, and why.
    """
    check_body(body, content_type, settings.MAX_BATCH_BODY_BYTES, announced, JSON, NDJSON)
    ndjson = content_type == NDJSON
    items = split_items(body, ndjson=ndjson)
    limit = settings.MAX_BODY_BYTES
    results: list[Decided | ScoringError | None] = [None] * len(items)
    requests: list[DecisionRequest] = []
    places: list[int] = []
    for place, item in enumerate(map(bytes, items)):
        if len(item) > limit:
            results[place] = BodyTooLarge(limit)
        else:
            places.append(place)
            requests.append(request_now(item))
    if requests:
        for place, result in zip(places, await engine_service().submit(requests), strict=True):
            results[place] = result
    if (engine := engine_service().engine) is not None:
        engine.counters.refused += sum(isinstance(result, InvalidInput | BodyTooLarge) for result in results)
    lines = [_line(i, result, request_id) for i, result in enumerate(results)]
    if ndjson:
        return Reply(200, _NDJSON_HEADERS, b"\n".join(lines) + b"\n")
    good = sum(type(result) is Decided for result in results)
    tail = b'],"accepted":%d,"refused":%d}' % (good, len(results) - good)
    return Reply(200, _JSON_HEADERS, b'{"results":[' + b",".join(lines) + tail)


def _line(index: int, result: Decided | ScoringError, request_id: str) -> bytes:
    """Return one result of a batch; the stored answer goes in byte for byte."""
    if type(result) is Decided:
        replayed = b"true" if result.replayed else b"false"
        return b'{"index":%d,"status":200,"replayed":%b,"decision":%b}' % (index, replayed, result.body)
    return msgspec.json.encode({"index": index, "status": result.status, "error": problem_of(result, request_id)})


async def answer_dry_run(body: bytes, content_type: str, announced: int, request_id: str) -> Reply:
    """Say what the decision on the transaction in `body` would be.

    Raises:
        ScoringError, UnsupportedMediaType: there would be none, and why.
    """
    check_body(body, content_type, settings.MAX_BODY_BYTES, announced, JSON)
    request = request_now(body)
    tried = await asyncio.wrap_future(engine_service().call(lambda engine: _dry_run(engine, request)))
    return Reply(200, _JSON_HEADERS, tried)


def _dry_run(engine: DecisionEngine, request: DecisionRequest) -> bytes:
    body, row = engine.dry_run(request)
    features = {
        name: None if value != value else value for name, value in zip(engine.schema.names, row.tolist(), strict=True)
    }
    return msgspec.json.encode(msgspec.json.decode(body) | {"decision_id": None, "status": "dry_run", "features": features})
