"""The four ways that a decision can take give the same status, headers and bytes, whatever is sent."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import OperationalError

from scoring.api.keys import create_key, key_cache
from scoring.decisions.runtime import discard_engine
from scoring.decisions.service import engine_service, stop_engine_service
from scoring.errors import EngineOverloaded, EngineUnavailable
from scoring.models import ApiKey, Decision, EntityIndexMark, EntitySegment, OutboxEvent
from scoring.models.api_key import SCOPES
from scoring.protection.guards import discard_guards, guards
from tests.scoring.api.clients import DOORS, Answer, ThroughAsgi
from tests.scoring.api.conftest import payment

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]
ONE, BATCH = "/api/v1/decisions", "/api/v1/decisions/batch"
JSON, NDJSON = "application/json", "application/x-ndjson"
LIMIT, BATCH_LIMIT = 65_536, 16_777_216


@dataclass(frozen=True)
class Case:
    """What is sent. `headers` replace the usual ones of the same name (None leaves one out), `more` come behind them."""

    parts: list[bytes]
    path: str = ONE
    method: str = "POST"
    key: str = "good"
    headers: dict[str, str | None] = field(default_factory=dict)
    more: list[tuple[bytes, bytes]] = field(default_factory=list)
    announced: bool = True


def body(number: Any = 1, **fields: Any) -> bytes:
    return json.dumps(payment(number, **fields)).encode()


def one(*parts: bytes, **given: Any) -> Case:
    return Case(list(parts) or [body()], **given)


def batch(*parts: bytes, **given: Any) -> Case:
    return Case(list(parts), path=BATCH, **given)


def lines(*parts: bytes, **given: Any) -> Case:
    return batch(*parts, headers={"content-type": NDJSON} | given.pop("headers", {}), **given)


def padded(size: int) -> bytes:
    return body("padded").ljust(size)


MANY = json.dumps([payment(1), {}, payment("b1"), payment("b1"), payment("b1", amount_minor=7), 5, None, "x"]).encode()
LINES = b"\n".join([body(1), b"{", body("l1"), b"[]", body("l1")])

CASES: dict[str, Case] = {
    # decisions
    "a decision": one(),
    "the same again": one(),
    "the same in another order": one(json.dumps(dict(reversed(payment(1).items()))).encode()),
    "a conflict": one(body(1, amount_minor=1)),
    "in parts": one(body("p")[:7], b"", body("p")[7:]),
    "in parts of which the length is not told": one(body("q")[:50], body("q")[50:], announced=False),
    "length not told, in one part": one(body("r"), announced=False),
    "with a query": one(body("s"), path=f"{ONE}?limit=x&a=1"),
    # faults of the body
    "faults": one(b'{"amount_minor":-1,"x":1}'),
    "a payment of the future": one(body("f", occurred_at="2100-01-01T00:00:00Z")),
    "before 1970": one(body("f", occurred_at="1969-01-01T00:00:00Z")),
    "no payer": one(body("f", customer_id=None, card_id=None, account_id=None)),
    "a card number": one(body("f", card_id="4111111111111111")),
    "no JSON": one(b"{"),
    "an array": one(b"[]"),
    "null": one(b"null"),
    "nothing": one(b""),
    "nothing, and the length is not told": one(b"", announced=False),
    "white space": one(b"  \n"),
    "no UTF-8": one(b'{"transaction_id":"\xff"}'),
    "a byte order mark": one(b"\xef\xbb\xbf" + body("bom")),
    "twice the same field": one(body("f")[:-1] + b',"amount_minor":1}'),
    "deep": one(b"[" * 2_000),
    # who is calling
    "no key": one(headers={"authorization": None}),
    "an empty header": one(headers={"authorization": ""}),
    "a blank": one(headers={"authorization": " "}),
    "a scheme alone": one(headers={"authorization": "Bearer"}),
    "a scheme and a blank": one(headers={"authorization": "Bearer "}),
    "another scheme": one(headers={"authorization": "Basic dXNlcjpwdw=="}),
    "a wrong key": one(headers={"authorization": "Bearer rk_0123456789ab_wrong"}),
    "no key of ours": one(headers={"authorization": "Bearer x"}),
    "a key that is no ASCII": one(headers={"authorization": "Bearer rk_0123456789ab_\xe9\xff"}),
    "a revoked key": one(key="revoked"),
    "a scheme in capitals": one(key="capitals"),
    "blanks around the key": one(key="blanks"),
    "something behind the key": one(key="behind"),
    "a good key and a wrong one": one(more=[(b"authorization", b"Bearer rk_0123456789ab_wrong")]),
    "the same key twice": one(key="twice"),
    "an empty header and a good key": one(key="empty first"),
    "a wrong key and a good one": one(key="good second"),
    "a key without the scope": one(key="reads"),
    "a key without the scope, and a body that is too large": one(padded(LIMIT + 1), key="reads"),
    "a key without the scope, and another type": one(key="reads", headers={"content-type": "text/plain"}),
    "no key, and a body that is too large": one(padded(LIMIT + 1), headers={"authorization": None}),
    # sizes
    "as large as it may be": one(padded(LIMIT)),
    "as large as it may be, length not told": one(padded(LIMIT)[:1000], padded(LIMIT)[1000:], announced=False),
    "a byte too large": one(padded(LIMIT + 1)),
    "a byte too large, length not told": one(padded(LIMIT), b" ", announced=False),
    "far too large, length not told": one(*[b" " * 60_000] * 5, announced=False),
    "less than it said": one(body("t"), headers={"content-length": "70000"}),
    "a length that is none": one(body("u"), headers={"content-length": "abc"}),
    "a length below nothing": one(body("v"), headers={"content-length": "-5"}),
    "too large and of another type": one(padded(LIMIT + 1), headers={"content-type": "text/plain"}),
    "a batch that says that it is too large": batch(b"[]", headers={"content-length": str(BATCH_LIMIT + 1)}),
    # types
    "a charset": one(headers={"content-type": f"{JSON}; charset=utf-8"}),
    "another charset": one(headers={"content-type": f"{JSON};charset=latin-1"}),
    "a parameter": one(headers={"content-type": f'{JSON}; a="b;c"; d'}),
    "a semicolon": one(headers={"content-type": f"{JSON};"}),
    "capitals": one(headers={"content-type": "Application/JSON"}),
    "blanks": one(headers={"content-type": f"  {JSON}  "}),
    "no type": one(headers={"content-type": None}),
    "an empty type": one(headers={"content-type": ""}),
    "text": one(headers={"content-type": "text/plain"}),
    "a form": one(headers={"content-type": "application/x-www-form-urlencoded"}),
    "parts of a form": one(headers={"content-type": "multipart/form-data; boundary=x"}),
    "parts without a boundary": one(headers={"content-type": "multipart/form-data"}),
    "another JSON": one(headers={"content-type": "application/problem+json"}),
    "lines for one": one(headers={"content-type": NDJSON}),
    "two types": one(more=[(b"content-type", b"text/plain")]),
    "the same type twice": one(more=[(b"content-type", JSON.encode())]),
    # other headers
    "accepts something else": one(headers={"accept": "text/html"}),
    "accepts nothing": one(headers={"accept": "image/png;q=0"}),
    "compressed, it says": one(headers={"content-encoding": "gzip"}),
    "another method, it says": one(headers={"x-http-method-override": "DELETE", "x-method": "PUT"}),
    "a cookie": one(headers={"cookie": "sessionid=x; csrftoken=y"}),
    "from another origin": one(headers={"origin": "https://elsewhere.example", "referer": "https://elsewhere.example/"}),
    "a request id that is too long": one(headers={"x-request-id": "x" * 65}),
    "a request id as long as it may be": one(headers={"x-request-id": "x" * 64}),
    "a request id with a card number": one(headers={"x-request-id": "4111111111111111"}),
    "a request id with a line break": one(headers={"x-request-id": "a\r\nset-cookie: b"}),
    "a request id that is no ASCII": one(headers={"x-request-id": "\xe9"}),
    "no request id": one(headers={"x-request-id": None}),
    "no request id and an error": one(b"{", headers={"x-request-id": None}),
    "two request ids": one(more=[(b"x-request-id", b"other")]),
    # how long it may take
    "a deadline": one(headers={"x-deadline-ms": "60000"}),
    "an empty deadline": one(headers={"x-deadline-ms": ""}),
    "no time at all": one(headers={"x-deadline-ms": "0"}),
    "a deadline below nothing": one(headers={"x-deadline-ms": "-1"}),
    "a deadline that is too far": one(headers={"x-deadline-ms": "600001"}),
    "a deadline that is endless": one(headers={"x-deadline-ms": "9" * 5_000}),
    "a deadline that is no number": one(headers={"x-deadline-ms": "soon"}),
    "a deadline in other digits": one(headers={"x-deadline-ms": "\xb2"}),
    "two deadlines": one(more=[(b"x-deadline-ms", b"60000"), (b"x-deadline-ms", b"60000")]),
    "a deadline for a batch": batch(MANY, headers={"x-deadline-ms": "60000"}),
    "a wrong deadline for a batch": batch(MANY, headers={"x-deadline-ms": "soon"}),
    # batches
    "a batch": batch(MANY),
    "a batch again": batch(MANY),
    "a batch in parts": batch(MANY[:100], MANY[100:], announced=False),
    "an empty batch": batch(b"[]"),
    "no batch": batch(b"{}"),
    "no JSON for a batch": batch(b"[1,"),
    "nothing for a batch": batch(b""),
    "a batch with an item that is too large": batch(b"[" + padded(LIMIT + 1) + b"," + body(1) + b"]"),
    "too many": batch(b"[" + b",".join([b"{}"] * 10_001) + b"]"),
    "lines": lines(LINES),
    "lines that end with a break": lines(LINES + b"\n"),
    "lines of another system": lines(LINES.replace(b"\n", b"\r\n") + b"\r\n"),
    "empty lines": lines(b"\n\n" + LINES + b"\n\n"),
    "no line": lines(b""),
    "a line break": lines(b"\n"),
    "lines and a parameter": lines(LINES, headers={"content-type": f"{NDJSON}; charset=utf-8"}),
    "lines in parts": lines(LINES[:300], LINES[300:], announced=False),
    "lines that say that they are JSON": batch(LINES),
    "text for a batch": batch(MANY, headers={"content-type": "text/plain"}),
    "a batch without a key": batch(MANY, headers={"authorization": None}),
    "a batch without the scope": batch(MANY, key="reads"),
    # what is not the decision path
    "another method": one(method="PUT"),
    "another method of a batch": batch(b"", method="GET"),
    "deleted": one(method="DELETE"),
    "a slash behind": one(path=f"{ONE}/"),
}
# What the server itself refuses before any door is asked, so that they may differ in it.
NOT_SENT_BY_A_SERVER = {"a length that is none", "a length below nothing"}
# A line break ends a header on a wire.
CANNOT_BE_SENT = {(door, "a request id with a line break") for door in ("protocol", "protocol, views")}
BY_NATURE = [
    (rb'"decision_id":"[0-9a-f-]{36}"', b'"decision_id":"ID"'),
    (rb'"received_at":"[^"]+"', b'"received_at":"NOW"'),
    (rb'"timing_us":\{[^}]*\}', b'"timing_us":{}'),
    (rb"req_[0-9a-f]{24}", b"req_NEW"),
]
# Set by Django's middlewares alone; they mean nothing to a machine. The cookie is that of a session that is not known.
MIDDLEWARE = {"set-cookie", "vary", "x-content-type-options", "x-frame-options", "referrer-policy", "cross-origin-opener-policy"}


def masked(text: bytes) -> bytes:
    for pattern, replacement in BY_NATURE:
        text = re.sub(pattern, replacement, text)
    return text


def told(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: masked(value.encode()).decode() for name, value in answer.headers.items() if name not in MIDDLEWARE}
    assert int(headers.pop("content-length")) == len(answer.body)
    return answer.status, headers, masked(answer.body)


def keys() -> dict[str, list[bytes]]:
    """Return name -> the Authorization headers."""
    good = create_key("good", list(SCOPES)).encode()
    reads = create_key("reads", ["decisions:read"]).encode()
    revoked = create_key("revoked", list(SCOPES)).encode()
    ApiKey.objects.filter(name="revoked").update(revoked_at="2026-01-01T00:00:00Z")
    return {
        "good": [b"Bearer " + good],
        "reads": [b"Bearer " + reads],
        "revoked": [b"Bearer " + revoked],
        "capitals": [b"BEARER " + good],
        "blanks": [b"Bearer   " + good + b"  "],
        "behind": [b"Bearer " + good + b" x"],
        "empty first": [b"", b"Bearer " + good],
        "twice": [b"Bearer " + good] * 2,
        "good second": [b"Bearer rk_0123456789ab_wrong", b"Bearer " + good],
    }


def send(door: ThroughAsgi, case: Case, authorization: list[bytes]) -> Answer:
    usual = {"host": "127.0.0.1", "content-type": JSON, "x-request-id": "same"}
    if case.announced:
        usual["content-length"] = str(sum(map(len, case.parts)))
    headers = [(name.encode(), value.encode("latin-1")) for name, value in (usual | case.headers).items() if value is not None]
    if "authorization" not in case.headers:
        headers += [(b"authorization", value) for value in authorization]
    return asyncio.run(door.exchange(case.method, case.path, headers + case.more, case.parts))


@pytest.fixture
def at_each_door(ledger) -> Iterator[Callable]:
    """`at_each_door(story)` returns what `story(door, keys)` does at each door, each time on an empty ledger."""

    def play(story: Callable[[ThroughAsgi, dict[str, list[bytes]]], Any]) -> dict[str, Any]:
        results = {}
        for name, door in DOORS.items():
            key_cache.__init__()
            results[name] = story(door(), keys())
            stop_engine_service()
            discard_engine()
            for table in (OutboxEvent, EntitySegment, EntityIndexMark, Decision, ApiKey):
                table.objects.all().delete()
        return results

    return play


def assert_alike(results: dict[str, dict[str, Any]]) -> None:
    reference = results["django"]
    differing = {
        name: {door: found[name] for door, found in results.items()}
        for name in reference
        if any(found[name] != reference[name] for door, found in results.items() if (door, name) not in CANNOT_BE_SENT)
    }
    assert not differing, "\n".join(f"{name}: {by_door}"[:1_500] for name, by_door in differing.items())


def test_everything_that_can_be_sent_is_answered_alike(at_each_door):
    cases = {name: case for name, case in CASES.items() if name not in NOT_SENT_BY_A_SERVER}
    results = at_each_door(lambda door, known: {name: told(send(door, case, known[case.key])) for name, case in cases.items()})
    assert_alike(results)
    answers = results["fast lane"]
    assert {answer[0] for answer in answers.values()} == {200, 400, 401, 403, 404, 405, 409, 413, 415}
    for name in ("the same again", "a charset", "capitals", "accepts nothing", "a cookie"):
        assert answers[name][0] == 200 and answers[name][1]["idempotent-replayed"] == "true", name
    for name in ("a good key and a wrong one", "a wrong key and a good one", "the same key twice", "something behind the key"):
        assert answers[name][0] == 401, name
    assert answers["a request id as long as it may be"][1]["x-request-id"] == "x" * 64


def test_a_length_that_no_server_lets_through_breaks_nothing(at_each_door):
    def story(door, known):
        return [send(door, CASES[name], known["good"]).status for name in sorted(NOT_SENT_BY_A_SERVER)]

    results = at_each_door(story)
    assert all(status in (200, 400, 413, 500) for statuses in results.values() for status in statuses)
    assert all(status != 500 for status in results["fast lane"])


def test_more_than_a_batch_may_hold(at_each_door):
    """Sent whole and in parts whose length is not told; the views and the fast lane never hold more than the limit."""
    part = b" " * (BATCH_LIMIT // 4)

    def story(door, known):
        sent = {"announced": batch(*[part] * 4, b" "), "not announced": batch(*[part] * 5, announced=False)}
        return {name: told(send(door, case, known["good"])) for name, case in sent.items()}

    results = at_each_door(story)
    for found in results.values():
        for status, headers, text in found.values():
            assert status == 413 and json.loads(text)["code"] == "body_too_large"
            assert headers["content-type"] == "application/problem+json"
    assert results["fast lane"] == results["views"]


def _refuse(error: Exception) -> Callable:
    def refuse(*_args, **_kwargs):
        raise error

    return refuse


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineOverloaded("too many wait"), 503, "overloaded"),
        (EngineUnavailable("not now"), 503, "engine_unavailable"),
        (OperationalError("secret host name"), 503, "database_unavailable"),
        (RuntimeError("secret"), 500, "internal_error"),
    ],
)
def test_what_fails_behind_the_door_is_told_alike(at_each_door, monkeypatch, error, status, code):
    def story(door, known):
        send(door, one(), known["good"])
        with monkeypatch.context() as patched:
            for way in ("submit", "enqueue"):
                patched.setattr(engine_service(), way, _refuse(error))
            found = {"one": told(send(door, one(), known["good"])), "batch": told(send(door, batch(MANY), known["good"]))}
        with monkeypatch.context() as patched:
            patched.setattr("scoring.api.keys._verify", _refuse(error))
            key_cache.__init__()
            return found | {"key": told(send(door, one(), known["good"]))}

    results = at_each_door(story)
    assert_alike(results)
    for answer_status, headers, text in results["fast lane"].values():
        problem = json.loads(text)
        assert (answer_status, problem["code"], problem["retryable"]) == (status, code, True)
        assert headers["retry-after"] == "1" and b"secret" not in text


def test_a_key_with_a_limit_is_told_alike(at_each_door, settings):
    settings.RATE_LIMIT_PER_SECOND, settings.RATE_LIMIT_BURST = 0.001, 6
    sent = [one(), one(b"{"), batch(json.dumps([payment("a"), payment("b")]).encode()), batch(MANY), one(), one(), one()]
    sent += [one(padded(LIMIT + 1)), one(headers={"authorization": None}), batch(MANY)]

    def story(door, known):
        discard_guards()
        return {str(place): told(send(door, case, known["good"])) for place, case in enumerate(sent)}

    results = at_each_door(story)
    discard_guards()
    assert_alike(results)
    statuses = [status for status, _, _ in results["fast lane"].values()]
    assert statuses[:3] == [200, 400, 200] and 429 in statuses[3:7] and statuses[8] == 401
    assert all(("ratelimit-limit" in headers) == (status != 401) for status, headers, _ in results["fast lane"].values())


def test_too_many_at_once_are_told_alike(at_each_door, monkeypatch):
    def story(door, known):
        send(door, one(), known["good"])
        with monkeypatch.context() as patched:
            patched.setattr(guards().concurrency, "enter", lambda count=1: False)
            return {str(case.path): told(send(door, case, known["good"])) for case in (one(), batch(MANY))}

    results = at_each_door(story)
    assert_alike(results)
    assert {status for status, _, _ in results["fast lane"].values()} <= {429, 503}


@pytest.mark.parametrize("name", DOORS)
def test_a_caller_that_goes_away_before_the_end_gets_and_leaves_nothing(ledger, name):
    (authorization,) = keys()["good"]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": ONE,
        "raw_path": ONE.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8),
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", authorization), (b"content-type", JSON.encode())],
    }  # fmt: skip
    waiting, sent = [{"type": "http.request", "body": body()[:20], "more_body": True}, {"type": "http.disconnect"}], []

    async def receive() -> dict:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def note(message: dict) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(DOORS[name]().application()(scope, receive, note), 20))
    assert sent == [] and not Decision.objects.exists()
