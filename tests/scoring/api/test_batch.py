"""POST /api/v1/decisions/batch: JSON arrays and NDJSON, each item with its own result."""

from __future__ import annotations

import json

import pytest

from scoring.feature_rows import stored_row
from scoring.models import Decision
from tests.scoring.api.cases import each
from tests.scoring.api.clients import JSON, NDJSON
from tests.scoring.api.conftest import payment, stored
from tests.scoring.api.documents import assert_conforms, assert_problem

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]
URL = "/api/v1/decisions/batch"


def ndjson(*items: dict | bytes) -> bytes:
    return b"\n".join(item if isinstance(item, bytes) else json.dumps(item).encode() for item in items)


def lines(body: bytes) -> list[dict]:
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


def test_an_array_gets_one_result_an_item_in_order(api):
    answer = api.post(URL, [payment(i) for i in (3, 1, 2)])
    assert (answer.status, answer.content_type) == (200, JSON)
    body = answer.json
    assert_conforms(body, "BatchBody")
    assert [(r["index"], r["status"], r["replayed"], r["decision"]["transaction_id"]) for r in body["results"]] == [
        (0, 200, False, "tx-3"),
        (1, 200, False, "tx-1"),
        (2, 200, False, "tx-2"),
    ]
    assert (body["accepted"], body["refused"]) == (3, 0)
    for result in body["results"]:
        assert_conforms(result["decision"], "DecisionBody")


def test_ndjson_in_gives_ndjson_out(api):
    answer = api.post(URL, ndjson(payment(1), payment(2)), NDJSON)
    assert (answer.status, answer.content_type) == (200, NDJSON)
    results = lines(answer.body)
    assert [r["decision"]["transaction_id"] for r in results] == ["tx-1", "tx-2"]
    for result in results:
        assert_conforms(result, "BatchResult")


@pytest.mark.parametrize("body", [b"\n\n%s\n\n%s\n\n", b"%s\r\n%s\r\n", b"  %s \n\t%s"])
def test_blank_lines_and_line_ends_of_any_kind_are_no_items(api, body):
    items = (json.dumps(payment(1)).encode(), json.dumps(payment(2)).encode())
    assert [r["status"] for r in lines(api.post(URL, body % items, NDJSON).body)] == [200, 200]


def test_good_and_bad_items_do_not_disturb_each_other(api):
    good, bad = payment(1), payment(2, amount_minor=-1)
    items = [
        good,
        bad,
        {},
        7,
        None,
        payment(3, currency="XXX"),
        payment(4, card_id="4111111111111111"),
        payment(5),
        good,
        payment(1, amount_minor=9),
    ]
    body = api.post(URL, items).json
    assert_conforms(body, "BatchBody")
    assert [r["status"] for r in body["results"]] == [200, 400, 400, 400, 400, 400, 400, 200, 200, 409]
    assert [r.get("replayed") for r in body["results"]] == [False, *[None] * 6, False, True, None]
    assert (body["accepted"], body["refused"]) == (3, 7)
    assert body["results"][1]["error"]["errors"][0]["param"] == "/amount_minor"
    assert body["results"][6]["error"]["errors"][0]["code"] == "card_number_not_accepted"
    assert body["results"][9]["error"]["code"] == "transaction_conflict"
    assert body["results"][8]["decision"] == body["results"][0]["decision"]
    assert Decision.objects.count() == 2
    assert b"4111" not in api.post(URL, items).body


def test_a_broken_line_is_refused_alone_where_lines_can_be_told_apart(api):
    body = ndjson(
        payment(1), b'{"transaction_id":', b"not json", b"[1]", payment(2), b"\xff\xfe", json.dumps(payment(3)).encode()[:-1]
    )
    assert [r["status"] for r in lines(api.post(URL, body, NDJSON).body)] == [200, 400, 400, 400, 200, 400, 400]


@pytest.mark.parametrize("content_type", [JSON, NDJSON])
def test_an_item_may_not_be_larger_than_a_single_body(api, settings, content_type):
    settings.MAX_BODY_BYTES = 1_024
    large = payment(1) | {"x": "y" * 2_000}
    body = ndjson(large, payment(2)) if content_type == NDJSON else json.dumps([large, payment(2)]).encode()
    answer = api.post(URL, body, content_type)
    results = lines(answer.body) if content_type == NDJSON else answer.json["results"]
    assert [r["status"] for r in results] == [413, 200]


def test_errors_of_all_items_carry_the_request_s_id(api):
    body = api.post(URL, [{}, {}], x_request_id="trace-7").json
    assert {r["error"]["request_id"] for r in body["results"]} == {"trace-7"}


def test_a_repeated_batch_is_replayed_item_by_item_byte_for_byte(api):
    items = [payment(i) for i in range(20)]
    first, again = api.post(URL, items), api.post(URL, items)
    assert again.body == first.body.replace(b'"replayed":false', b'"replayed":true')
    assert Decision.objects.count() == 20


def test_a_batch_and_single_requests_share_their_answers(api):
    single = api.post("/api/v1/decisions", payment(1))
    body = api.post(URL, [payment(1), payment(2)])
    assert single.body in body.body and body.json["results"][0]["replayed"]
    assert api.post("/api/v1/decisions", payment(2)).json == body.json["results"][1]["decision"]


def test_a_batch_scores_as_if_sent_one_by_one(api):
    api.post(URL, [payment(i) for i in range(4)])
    rows = Decision.objects.order_by("seq")
    from scoring.features.schema import current_schema

    column = current_schema().index("card.count.10m")
    assert [stored_row(row.features)[column] for row in rows] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("content_type", [JSON, NDJSON])
def test_ten_thousand_items_are_taken_and_one_more_is_not(asgi_api, content_type):
    items = [payment(i, customer_id=f"c{i % 500}", card_id=f"k{i % 700}") for i in range(10_001)]
    body = (lambda part: ndjson(*part)) if content_type == NDJSON else (lambda part: json.dumps(part).encode())
    before = stored()
    problem = assert_problem(asgi_api.post(URL, body(items), content_type), 400, "invalid_input")
    assert problem["errors"][0]["code"] == "batch_size" and stored() == before
    answer = asgi_api.post(URL, body(items[:-1]), content_type)
    assert answer.status == 200
    results = lines(answer.body) if content_type == NDJSON else answer.json["results"]
    assert [r["index"] for r in results] == list(range(10_000)) and {r["status"] for r in results} == {200}
    assert Decision.objects.count() == 10_000


@each(
    [
        (b"[]", JSON, "batch_size"),
        (b"", NDJSON, "batch_size"),
        (b"\n \n", NDJSON, "batch_size"),
        (b"", JSON, "malformed_json"),
        (b"{}", JSON, "malformed_json"),
        (b"[{}", JSON, "malformed_json"),
        (b"[NaN]", JSON, "malformed_json"),
        (b"[{}]x", JSON, "malformed_json"),
        (b"[" * 100_000, JSON, "malformed_json"),
        (b'[{"a":' * 5_000, JSON, "malformed_json"),
        (b"\xff", JSON, "malformed_json"),
        (b"null", JSON, "malformed_json"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(api, body, content_type, code):
    before = stored()
    problem = assert_problem(api.post(URL, body, content_type), 400, "invalid_input")
    assert [error["code"] for error in problem["errors"]] == [code]
    assert stored() == before


@pytest.mark.parametrize("content_type", [JSON, NDJSON])
def test_batches_of_new_and_known_payments_are_written_alike(api, content_type):
    """A batch that is all new takes a way of its own through the door; item by item its bytes are those of any other."""
    items = [payment(i) for i in range(7)]
    body = ndjson(*items) if content_type == NDJSON else json.dumps(items).encode()
    new = api.post(URL, body, content_type).body
    known = api.post(URL, body, content_type).body
    assert known == new.replace(b'"replayed":false', b'"replayed":true') and known != new


def test_an_array_with_a_broken_item_is_refused_as_a_whole(api):
    """Brackets and quotes that fit do not make it JSON: nothing of it may be decided."""
    before = stored()
    body = b"[" + json.dumps(payment(1)).encode() + b',{"transaction_id":},' + json.dumps(payment(2)).encode() + b"]"
    problem = assert_problem(api.post(URL, body, JSON), 400, "invalid_input")
    assert problem["errors"][0]["code"] == "malformed_json" and stored() == before
