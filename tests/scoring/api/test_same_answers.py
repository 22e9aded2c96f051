"""The short way to a decision and Django's own way give the same answers, byte for byte where nothing differs by nature."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from scoring.api.keys import create_key
from scoring.models.api_key import SCOPES
from tests.scoring.api.clients import JSON, NDJSON, WAYS, Answer
from tests.scoring.api.conftest import payment

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]
URL, BATCH, DRY_RUN, LABELS = "/api/v1/decisions", "/api/v1/decisions/batch", "/api/v1/decisions/dry-run", "/api/v1/labels"
LABEL = {"transaction_id": "tx-1", "label": "fraud", "source": "network", "reported_at": "2026-03-05T08:00:00Z", "label_id": "l1"}

# (method, path, body, headers beside the key)
REQUESTS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "a decision": ("POST", URL, payment(1), {}),
    "the same again": ("POST", URL, payment(1), {}),
    "a conflict": ("POST", URL, payment(1, amount_minor=1), {}),
    "faults": ("POST", URL, {"amount_minor": -1, "x": 1}, {}),
    "no JSON": ("POST", URL, b"{", {}),
    "too deep": ("POST", URL, b"[" * 2_000, {}),
    "a card number": ("POST", URL, payment(2, card_id="4111111111111111"), {}),
    "another content type": ("POST", URL, b"{}", {"content-type": "text/plain"}),
    "no key": ("POST", URL, payment(3), {"authorization": ""}),
    "a wrong key": ("POST", URL, payment(3), {"authorization": "Bearer rk_wrong"}),
    "too large": ("POST", URL, b" " * 70_000, {}),
    "a batch": ("POST", BATCH, [payment(1), {}, payment(4), payment(4)], {}),
    "lines": ("POST", BATCH, b"\n".join(json.dumps(payment(i)).encode() for i in (1, 5)) + b"\n{\n", {"content-type": NDJSON}),
    "an empty batch": ("POST", BATCH, [], {}),
    "no batch": ("POST", BATCH, b"{}", {}),
    "batch without a key": ("POST", BATCH, [payment(3)], {"authorization": ""}),
    "a dry run": ("POST", DRY_RUN, payment(9), {}),
    "a dry run with faults": ("POST", DRY_RUN, {}, {}),
    "a list": ("GET", f"{URL}?limit=2", b"", {}),
    "a list with faults": ("GET", f"{URL}?limit=x", b"", {}),
    "another method": ("PUT", URL, b"{}", {}),
    "another method of batch": ("GET", BATCH, b"", {}),
    "nothing there": ("GET", "/api/v1/nothing", b"", {}),
    "an unknown decision": ("GET", f"{URL}/unknown", b"", {}),
    "a label": ("POST", LABELS, LABEL, {}),
    "a label again": ("POST", LABELS, LABEL, {}),
    "a label with faults": ("POST", LABELS, {"label": "x"}, {}),
    "alive": ("GET", "/livez", b"", {}),
    "ready": ("GET", "/readyz", b"", {}),
    "the document": ("GET", "/api/v1/schema", b"", {}),
}
# Headers that only Django's middlewares set, and that mean nothing to a machine client.
_MIDDLEWARE = {
    "vary",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "content-language",
    "content-disposition",
}
_BY_NATURE = [
    (rb'"decision_id":"[0-9a-f-]{36}"', b'"decision_id":"ID"'),
    (rb'"received_at":"[^"]+"', b'"received_at":"NOW"'),
    (rb'"timing_us":\{[^}]*\}', b'"timing_us":{}'),
    (rb'"next_cursor":"[^"]+"', b'"next_cursor":"CURSOR"'),
]


def _comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    body = answer.body
    for pattern, replacement in _BY_NATURE:
        body = re.sub(pattern, replacement, body)
    headers = {name: value for name, value in answer.headers.items() if name not in _MIDDLEWARE | {"content-length", "date"}}
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
    return answer.status, headers, body


def _play(way: str) -> dict[str, tuple]:
    """Send all requests in order to an empty ledger; every answer must carry the same request id."""
    client, answers = WAYS[way](create_key("test", list(SCOPES))), {}
    for name, (method, path, body, headers) in REQUESTS.items():
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": JSON, "x-request-id": "same"} | headers
        answers[name] = _comparable(client.send(method, path, raw, sent))
    return answers


@pytest.fixture
def both(ledger, django_db_blocker) -> dict[str, dict[str, tuple]]:
    from scoring.api.keys import key_cache
    from scoring.decisions.runtime import discard_engine
    from scoring.decisions.service import stop_engine_service
    from scoring.models import ApiKey, Decision, EntityIndexMark, EntitySegment, Label, OutboxEvent

    played = {}
    for way in WAYS:
        played[way] = _play(way)
        stop_engine_service()
        discard_engine()
        key_cache.__init__()
        for table in (Label, OutboxEvent, EntitySegment, EntityIndexMark, Decision, ApiKey):
            table.objects.all().delete()
    return played


def test_both_ways_answer_alike(both):
    differing = {
        name: (both["asgi"][name], both["django"][name]) for name in REQUESTS if both["asgi"][name] != both["django"][name]
    }
    assert differing == {}


def test_the_requests_are_worth_comparing(both):
    statuses = {answer[0] for answer in both["asgi"].values()}
    assert statuses == {200, 201, 400, 401, 404, 405, 409, 413, 415}
    assert both["asgi"]["the same again"][1]["idempotent-replayed"] == "true"
