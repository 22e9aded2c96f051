"""What is refused, by every way in: with a code and a place, without a trace, and without repeating what was sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.scoring.api.cases import each
from tests.scoring.api.clients import JSON, NDJSON
from tests.scoring.api.conftest import payment, stored
from tests.scoring.api.documents import assert_problem

pytestmark = pytest.mark.django_db(transaction=True)
URL, DRY_RUN, BATCH, LABELS = "/api/v1/decisions", "/api/v1/decisions/dry-run", "/api/v1/decisions/batch", "/api/v1/labels"


@pytest.fixture
def refused(asgi_api):
    """`refused(body, code, *params)`: the body is refused by /decisions, /dry-run and as an item of a batch, alike."""

    def check(body: bytes, code: str | None, *params: str) -> None:
        before = stored()
        problem = assert_problem(asgi_api.post(URL, body), 400, "invalid_input", *params)
        if code is not None:
            assert {error["code"] for error in problem["errors"]} == {code}, problem
        dry = assert_problem(asgi_api.post(DRY_RUN, body), 400, "invalid_input", *params)
        assert dry["errors"] == problem["errors"]
        if b"\n" not in body and body.strip():
            item = json.loads(asgi_api.post(BATCH, body, NDJSON).body)
            assert (item["status"], item["error"]["errors"]) == (400, problem["errors"])
        assert stored() == before
        assert "SECRET" not in str(problem), "what was sent is not repeated"

    return check


def encoded(**changed) -> bytes:
    return json.dumps(payment(1) | changed).encode()


def replaced(old: str, new: str) -> bytes:
    text = json.dumps(payment(1))
    assert old in text
    return text.replace(old, new).encode()


# --- values --------------------------------------------------------------------------------------------------------------


@each(
    [
        "-1",
        "1000000000001",
        "1" + "0" * 30,
        "1" + "0" * 400,
        "9" * 5_000,
        "1.0",
        "2.5",
        "1e3",
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        '"2500"',
        "null",
        "true",
        "[]",
        "{}",
        "0x10",
        "01",
        "+1",
        "1_000",
        "",
    ],
)
def test_an_amount_that_is_no_whole_number_of_minor_units(refused, number):
    refused(replaced('"amount_minor": 2500', f'"amount_minor": {number}'), None)


@each(
    [
        (name, number)
        for name in ("latitude", "longitude")
        for number in ("180.1", "-180.1", "1e400", "NaN", "Infinity", '"1"', "true")
    ]
)
def test_a_place_that_is_not_on_earth(refused, name, number):
    refused(replaced('"amount_minor": 2500', f'"amount_minor": 2500, "{name}": {number}'), None)


TOKENS = ["transaction_id", "customer_id", "account_id", "card_id", "merchant_id", "terminal_id", "device_id", "counterparty_id"]


@pytest.mark.any_database
@each([(name, value) for name in TOKENS for value in ("SECRET value", "SECRET\n", "")])
def test_every_token_has_one_form(refused, name, value):
    refused(encoded(**{name: value}), "invalid_value", f"/{name}")


@each(
    ["\nSECRET", "x" * 65, "SECRET\0", "SECRETé", "SECRET/../x", "<SECRET>", "＃SECRET", "SECRET\u2028", 5, True, [], {}, 1.5],
)
def test_a_token_of_another_form(refused, value):
    refused(encoded(card_id=value), "invalid_value", "/card_id")


@each(TOKENS)
def test_a_card_number_in_any_token(refused, name):
    refused(encoded(**{name: "4111111111111111"}), "card_number_not_accepted", f"/{name}")


@each(
    [
        "5500-0000-0000-0004",
        "3400.0000000.0009",
        "6011:0000:0000:0004",
        "4222222222222",
        "tok_4111111111111111",
        "-2223000048400011",
        "4111_1111_1111_1111",
        "6304000000000000000",
    ],
)
def test_a_card_number_of_any_form(refused, number):
    refused(encoded(card_id=number), "card_number_not_accepted", "/card_id")


@pytest.mark.parametrize(
    "token", ["4111111111111112", "411111111111", "41111111111111111111", "0123456789abcdef", "2026-0131-00000003"]
)
def test_what_only_looks_a_little_like_a_card_number_is_accepted(asgi_api, token):
    assert asgi_api.post(URL, encoded(card_id=token)).status == 200


@each(
    [
        ({"currency": "eur"}, "invalid_value", "/currency"),
        ({"currency": "EURO"}, "invalid_value", "/currency"),
        ({"currency": "EUR\n"}, "invalid_value", "/currency"),
        ({"currency": "XXX"}, "unknown_currency", "/currency"),
        ({"currency": "DEM"}, "unknown_currency", "/currency"),
        ({"currency": 978}, "invalid_value", "/currency"),
        ({"type": "SECRET"}, "invalid_value", "/type"),
        ({"channel": "POS"}, "invalid_value", "/channel"),
        ({"type": None}, "invalid_value", "/type"),
        ({"mcc": "541"}, "invalid_value", "/mcc"),
        ({"mcc": 5411}, "invalid_value", "/mcc"),
        ({"mcc": "5411\n"}, "invalid_value", "/mcc"),
        ({"mcc": "٥٤١١"}, "invalid_value", "/mcc"),
        ({"country": "de"}, "invalid_value", "/country"),
        ({"country": "DEU"}, "invalid_value", "/country"),
        ({"country": "DE\n"}, "invalid_value", "/country"),
        ({"home_country": "D"}, "invalid_value", "/home_country"),
        ({"card_present": "true"}, "invalid_value", "/card_present"),
        ({"is_recurring": 1}, "invalid_value", "/is_recurring"),
        ({"ip": "localhost"}, "invalid_value", "/ip"),
        ({"ip": "999.1.1.1"}, "invalid_value", "/ip"),
        ({"ip": "4111.1111.1111.1111"}, "invalid_value", "/ip"),
        ({"ip": "1.2.3.4\n"}, "invalid_value", "/ip"),
        ({"transaction_id": None}, "invalid_value", "/transaction_id"),
    ],
)
def test_a_value_outside_its_vocabulary(refused, changed, code, param):
    refused(encoded(**changed), code, param)


@each(
    [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-14:00",
        "10000-01-01T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-02-30T00:00:00Z",
        "2026-03-02T24:00:00Z",
        "2026-03-02T12:00:00",
        "2026-03-02",
        "12:00",
        "2026-03-02T12:00:00+24:00",
        "2026-03-02T12:00:00 Europe/Berlin",
        "yesterday",
        "",
        1767225600,
        None,
        True,
        "SECRET",
    ],
)
def test_a_time_that_cannot_be(refused, moment):
    refused(encoded(occurred_at=moment), None, "/occurred_at")


def test_a_time_ahead_of_the_clock(refused):
    refused(encoded(occurred_at=(datetime.now(UTC) + timedelta(minutes=6)).isoformat()), "in_the_future", "/occurred_at")


def test_nobody_who_pays(refused):
    refused(encoded(customer_id=None, card_id=None), "no_payer", "")
    refused(json.dumps({k: v for k, v in payment(1).items() if k not in ("customer_id", "card_id")}).encode(), "no_payer", "")


@each(["transaction_id", "occurred_at", "amount_minor", "currency", "type", "channel"])
def test_a_required_field_that_is_missing(refused, name):
    refused(json.dumps({k: v for k, v in payment(1).items() if k != name}).encode(), "required", f"/{name}")


@each(
    [
        ("amount", "/amount"),
        ("pan", "/pan"),
        ("4111111111111111", "/…"),
        ("x" * 41, "/…"),
        ("a b", "/…"),
        ("", "/…"),
        ("é", "/…"),
        ("\0", "/…"),
    ],
)
def test_a_field_that_there_is_not(refused, name, shown):
    refused(encoded(**{name: "SECRET"}), "unknown_field", shown)


def test_all_faults_are_told_at_once(refused):
    body = json.dumps({"amount_minor": -1, "currency": "x", "cvv": "SECRET"}).encode()
    refused(body, None, "/cvv", "/transaction_id", "/occurred_at", "/amount_minor", "/currency", "/type", "/channel")


# --- documents -----------------------------------------------------------------------------------------------------------


@each(
    [
        (b"", "malformed_json"),
        (b" ", "malformed_json"),
        (b"SECRET", "malformed_json"),
        (b"{", "malformed_json"),
        (b"null", "not_an_object"),
        (b"5", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'"SECRET"', "not_an_object"),
        (b"\x00", "malformed_json"),
        (b"\xff\xfe{\x00}\x00", "malformed_json"),
        (b"\xef\xbb\xbf{}", "malformed_json"),
        (b"[" * 10_000, "too_deep"),
        (b'{"a":' * 10_000, "too_deep"),
        (b"[" * 60_000, "too_deep"),
        (b'{"a":"' + b"]" * 20_000 + b'","b":' + b"[" * 20_000, "malformed_json"),
        (b'{"\\ud800":1}', "malformed_json"),
        (b'{"transaction_id":"\\ud800"}', "malformed_json"),
        (b'{"a":1}{"b":2}', "malformed_json"),
        (b"{'a':1}", "malformed_json"),
        (b'{"a":1,}', "malformed_json"),
        (b'{"a":1} // SECRET', "malformed_json"),
        (b"\xc3\x28", "malformed_json"),
        (b"<xml/>", "malformed_json"),
        (b"a=1&b=2", "malformed_json"),
    ],
)
def test_what_is_no_json_object(refused, body, code):
    refused(body, code, "")


def test_a_document_cut_off_anywhere(asgi_api):
    whole, before = encoded(), stored()
    for end in range(0, len(whole), 7):
        assert_problem(asgi_api.post(URL, whole[:end]), 400, "invalid_input")
    assert stored() == before


@pytest.mark.any_database
def test_a_zero_byte_inside_a_text(refused):
    refused(replaced('"tx-1"', '"tx-\\u0000"'), "invalid_value", "/transaction_id")
    refused(replaced('"tx-1"', '"tx-\x00"'), "malformed_json", "")


@each(['"amount_minor": 1', '"mcc": null, "mcc": "5411"', '"mcc": "5411", "mcc": null', '"c\\u0061rd_id": "other"'])
def test_a_field_that_occurs_twice(refused, second):
    """One reader would take the first value and another the last."""
    refused(replaced('"amount_minor": 2500', f'"amount_minor": 2500, {second}'), "duplicate_key")


def test_nulls_and_escaped_names_are_not_taken_for_repetitions(asgi_api):
    body = replaced('"amount_minor": 2500', '"amount_minor": 2500, "mcc": null, "ip": null, "c\\u006funtry": "DE"')
    assert asgi_api.post(URL, body).status == 200


# --- requests ------------------------------------------------------------------------------------------------------------


TYPES = [
    "",
    "text/plain",
    "application/xml",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "json",
    "application/json5",
]


@each([(path, content_type) for path in (URL, BATCH, DRY_RUN, LABELS) for content_type in TYPES])
def test_another_content_type(api, path, content_type):
    before = stored()
    answer = api.send("POST", path, encoded(), {"content-type": content_type} if content_type else {})
    assert_problem(answer, 415, "unsupported_media_type")
    assert stored() == before


@pytest.mark.parametrize("path", [URL, DRY_RUN, LABELS])
def test_lines_are_for_batches_only(api, path):
    assert_problem(api.post(path, encoded(), NDJSON), 415, "unsupported_media_type")


@pytest.mark.parametrize("path", [URL, DRY_RUN])
def test_a_body_beyond_the_limit(api, path, settings):
    for size in (settings.MAX_BODY_BYTES + 1, 4 * settings.MAX_BODY_BYTES):
        body = encoded() + b" " * (size - len(encoded()))
        assert_problem(api.post(path, body), 413, "body_too_large")
    assert stored()["Decision"] == 0
    exact = encoded() + b" " * (settings.MAX_BODY_BYTES - len(encoded()))
    assert api.post(path, exact).status == 200


def test_a_batch_beyond_the_limit(api, settings):
    assert_problem(api.post(BATCH, b"[" + b" " * settings.MAX_BATCH_BODY_BYTES + b"]"), 413, "body_too_large")


def test_a_body_in_parts_of_unknown_length(asgi_api, settings):
    body = encoded()
    headers = {"content-type": JSON}
    assert asgi_api.send("POST", URL, headers=headers, chunks=[body[:9], body[9:20], b"", body[20:]]).status == 200
    too_many = [b" " * 10_000] * 20
    answer = asgi_api.send("POST", URL, headers=headers, chunks=too_many)
    assert_problem(answer, 413, "body_too_large")
    assert_problem(asgi_api.send("POST", DRY_RUN, headers=headers, chunks=too_many), 413, "body_too_large")


def test_a_length_that_is_not_true_does_not_help(asgi_api, settings):
    """The server measures what arrives."""
    answer = asgi_api.send("POST", URL, b" " * (settings.MAX_BODY_BYTES + 1), {"content-type": JSON, "content-length": "5"})
    assert_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (URL, {"GET", "POST"}),
        (BATCH, {"POST"}),
        (DRY_RUN, {"POST"}),
        (f"{URL}/x", {"GET"}),
        (LABELS, {"POST"}),
        ("/metrics", {"GET"}),
        ("/api/v1/schema", {"GET"}),
    ],
)
def test_another_method(api, path, allowed):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        if method in allowed:
            continue
        answer = api.send(method, path, b"{}", {"content-type": JSON})
        assert_problem(answer, 405, "method_not_allowed")
        named = {name.strip() for name in answer.headers["allow"].split(",")}
        assert allowed <= named and not named & {"PUT", "PATCH", "DELETE", "TRACE"}, named


NOWHERE = ["nothing", "", "decisions/", "decisions/a/b", "labels/1", "%00"]


@each([(method, path) for method in ("GET", "POST") for path in NOWHERE])
def test_an_address_that_there_is_not(api, method, path):
    assert_problem(api.send(method, f"/api/v1/{path}", b"{}", {"content-type": JSON}), 404, "not_found")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/png", "application/json", "*/*", ""])
def test_an_answer_is_json_whatever_is_asked_for(api, accept):
    assert api.post(URL, payment(1), accept=accept).content_type == JSON
    assert api.get(URL, accept=accept).content_type == JSON
