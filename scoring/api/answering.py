"""The service behind both doors: from a caller that was let in and the body it sent, to a reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import msgspec
from django.conf import settings
from msgspec import Raw
from rest_framework.exceptions import UnsupportedMediaType

from scoring.api.replies import JSON, NDJSON, Reply, Sent
from scoring.api.throttling import take_tokens
from scoring.decisions.accepted import read_whole
from scoring.decisions.batcher import Deliver, set_result
from scoring.decisions.engine import DecisionEngine
from scoring.decisions.requests import Decided, DecisionRequest, NewAnswers, request_now
from scoring.decisions.service import engine_service
from scoring.engine import Priority
from scoring.errors import BodyTooLarge, InvalidInput, ScoringError
from scoring.hot_settings import hot_settings
from scoring.problems import problem_of
from scoring.reading import split_items
from scoring.request_log import request_log
from scoring.transactions import FieldFault

MAX_DEADLINE_MS = 600_000
_JSON_HEADERS = (("Content-Type", JSON),)
_REPLAYED_HEADERS = (*_JSON_HEADERS, ("Idempotent-Replayed", "true"))
_NDJSON_HEADERS = (("Content-Type", NDJSON),)


def check_body(sent: Sent, limit: int, *media_types: str) -> None:
    """Refuse a body of another type, or one that is, or was said to be, larger than `limit` bytes.

    Raises:
        UnsupportedMediaType, BodyTooLarge: as said.
    """
    if sent.content_type not in media_types:
        raise UnsupportedMediaType(sent.content_type)
    if sent.announced > limit or len(sent.body) > limit:
        raise BodyTooLarge(limit)


def within_us(sent: Sent) -> float | None:
    """Return how long the caller waits, microseconds; None where it does not say.

    Raises:
        InvalidInput: the header holds something else.
    """
    text = sent.deadline_ms
    if not text:
        return None
    # Short first: Python refuses to read a number of thousands of digits.
    if not (len(text) <= 9 and text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_DEADLINE_MS):
        message = f"X-Deadline-Ms must be a whole number of milliseconds from 1 to {MAX_DEADLINE_MS}"
        raise InvalidInput([FieldFault("", "invalid_deadline", message)], "the header X-Deadline-Ms is not valid")
    return int(text) * 1000.0


async def answer_one(sent: Sent) -> Reply:
    """Decide on the one transaction that was sent.

    Raises:
        ScoringError, UnsupportedMediaType: there is no decision, and why.
    """
    future = asyncio.get_running_loop().create_future()
    request = ask_for_one(sent, partial(set_result, future))
    return reply_of_one(await future, request, sent.request_id)


def ask_for_one(sent: Sent, deliver: Deliver) -> DecisionRequest:
    """Queue the one transaction that was sent; `deliver` is called with what `reply_of_one` makes the reply of.

    Raises:
        ScoringError, UnsupportedMediaType: there will be no decision, and why.
    """
    check_body(sent, hot_settings.MAX_BODY_BYTES, JSON)
    request = request_now(sent.body)
    engine_service().enqueue((request,), deliver, Priority.LIVE, within_us(sent), sent.waited_us)
    return request


def reply_of_one(results: Sequence[Decided | ScoringError], request: DecisionRequest, request_id: str) -> Reply:
    """Return the reply to one transaction.

    Raises:
        ScoringError: there is no decision, and why.
    """
    (result,) = results
    if type(result) is not Decided:
        raise result
    request_log.decisions((result.body,), _seconds_since(request), request_id)
    return Reply(200, _REPLAYED_HEADERS if result.replayed else _JSON_HEADERS, result.body)


async def answer_batch(sent: Sent) -> Reply:
    """Decide on the transactions that were sent, an array or lines; each has its own result, in order.

    Raises:
        ScoringError, UnsupportedMediaType: the body as a whole is refused, and why.
    """
    check_body(sent, settings.MAX_BATCH_BODY_BYTES, JSON, NDJSON)
    within, ndjson = within_us(sent), sent.content_type == NDJSON
    first = request_now(b"")
    batch = read_whole(sent.body, first, ndjson=ndjson)
    items = split_items(sent.body, ndjson=ndjson) if batch is None else ()
    count = len(items) if batch is None else len(batch)
    # The first was taken at the door.
    verdict = take_tokens(sent.client, count - 1) if count > 1 else None
    counted = () if verdict is None else tuple(verdict.headers().items())
    if batch is None:
        results = await _decide_items(items, first, within)
    else:
        results = await engine_service().submit(batch, Priority.BULK, within)
    if type(results) is NewAnswers:
        answers, good = results.bodies, count
    else:
        _count_refused(results)
        answers = [result.body for result in results if type(result) is Decided]
        good = len(answers)
    request_log.decisions(answers, _seconds_since(first), sent.request_id)
    if ndjson:
        return Reply(200, (*_NDJSON_HEADERS, *counted), _lines(results, sent.request_id, b"\n") + b"\n")
    tail = b'],"accepted":%d,"refused":%d}' % (good, count - good)
    body = b"".join((b'{"results":[', _lines(results, sent.request_id, b","), tail))
    return Reply(200, (*_JSON_HEADERS, *counted), body)


async def _decide_items(
    items: Sequence[bytes | Raw], first: DecisionRequest, within_us: float | None
) -> list[Decided | ScoringError]:
    """Return a result for each item of a batch that the quick reader did not take as a whole."""
    limit = settings.MAX_BODY_BYTES
    results: list[Decided | ScoringError | None] = [None] * len(items)
    requests: list[DecisionRequest] = []
    places: list[int] = []
    for place, item in enumerate(map(bytes, items)):
        if len(item) > limit:
            results[place] = BodyTooLarge(limit)
        else:
            places.append(place)
            requests.append(first._replace(body=item))
    if requests:
        for place, result in zip(places, await engine_service().submit(requests, Priority.BULK, within_us), strict=True):
            results[place] = result
    return results


def _count_refused(results: Sequence[Decided | ScoringError]) -> None:
    if (engine := engine_service().engine) is not None:
        engine.counters.refused += sum(isinstance(result, InvalidInput | BodyTooLarge) for result in results)


def _seconds_since(request: DecisionRequest) -> float:
    return (time.perf_counter_ns() - request.queued_ns) / 1e9


def _lines(results: Sequence[Decided | ScoringError], request_id: str, between: bytes) -> bytes:
    """Return the results of a batch one behind the other; the stored answers go in byte for byte."""
    if type(results) is not NewAnswers:
        return between.join([_line(i, result, request_id) for i, result in enumerate(results)])
    # The answers alternate with what comes between two of them, which is the same for every batch.
    count = len(results)
    parts = [b""] * (2 * count)
    parts[0::2] = _heads(between, count)
    parts[1::2] = results.bodies
    parts.append(b"}")
    return b"".join(parts)


def _heads(between: bytes, count: int) -> list[bytes]:
    """Return what stands before each of `count` new answers: the end of the one before it, and its own head."""
    known = _known_heads[between]
    for index in range(len(known), count):
        known.append((b"}" + between if index else b"") + _HEAD % (index, b"false"))
    return known[:count]


_HEAD = b'{"index":%d,"status":200,"replayed":%b,"decision":'
_known_heads: dict[bytes, list[bytes]] = {b",": [], b"\n": []}  # each as long as the largest batch so far


def _line(index: int, result: Decided | ScoringError, request_id: str) -> bytes:
    """Return one result of a batch."""
    if type(result) is Decided:
        return _HEAD % (index, b"true" if result.replayed else b"false") + result.body + b"}"
    return msgspec.json.encode({"index": index, "status": result.status, "error": problem_of(result, request_id)})


async def answer_dry_run(sent: Sent) -> Reply:
    """Say what the decision on the transaction that was sent would be.

    Raises:
        ScoringError, UnsupportedMediaType: there would be none, and why.
    """
    check_body(sent, settings.MAX_BODY_BYTES, JSON)
    request = request_now(sent.body)
    tried = await asyncio.wrap_future(engine_service().call(lambda engine: _dry_run(engine, request)))
    return Reply(200, _JSON_HEADERS, tried)


def _dry_run(engine: DecisionEngine, request: DecisionRequest) -> bytes:
    body, row = engine.dry_run(request)
    features = {name: None if value != value else value for name, value in zip(engine.schema.names, row.tolist(), strict=True)}
    return msgspec.json.encode(msgspec.json.decode(body) | {"decision_id": None, "status": "dry_run", "features": features})
