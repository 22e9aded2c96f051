"""GET /api/v1/decisions: filters, and a cursor that stays right while new decisions arrive."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote, urlencode

import pytest

from scoring.models import Decision
from tests.scoring.api.cases import each
from tests.scoring.api.conftest import payment
from tests.scoring.api.documents import assert_conforms, assert_problem

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]
URL = "/api/v1/decisions"
DAY = timedelta(days=1)


@pytest.fixture
def api(asgi_api):
    """As the server runs it; test_same_answers.py compares both ways."""
    return asgi_api


def listed(api, **parameters) -> list[str]:
    """Return the transaction ids of one page."""
    answer = api.get(f"{URL}?{urlencode(parameters)}")
    assert answer.status == 200, answer.body
    assert_conforms(answer.json, "DecisionPage")
    return [decision["transaction_id"] for decision in answer.json["decisions"]]


def post(api, *bodies: dict) -> None:
    assert api.post(f"{URL}/batch", list(bodies)).json["refused"] == 0


def test_newest_arrivals_come_first_as_they_were_answered(api):
    post(api, payment(1, DAY), payment(2), payment(3, 2 * DAY))
    answer = api.get(URL).json
    assert [d["transaction_id"] for d in answer["decisions"]] == ["tx-3", "tx-2", "tx-1"]
    assert answer["next_cursor"] is None
    for decision in answer["decisions"]:
        assert_conforms(decision, "DecisionBody")
    assert answer["decisions"][0] == api.post(URL, payment(3, 2 * DAY)).json


def test_an_empty_ledger_is_an_empty_page(api):
    assert api.get(URL).json == {"decisions": [], "next_cursor": None}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_cover_everything_once(api, limit):
    post(api, *[payment(i) for i in range(7)])
    seen, cursor = [], ""
    while cursor is not None:
        assert len(seen) <= 7, "the pages go round in circles"
        answer = api.get(f"{URL}?limit={limit}&cursor={cursor}").json
        assert 1 <= len(answer["decisions"]) <= limit
        seen += [d["transaction_id"] for d in answer["decisions"]]
        cursor = answer["next_cursor"]
    assert seen == [f"tx-{i}" for i in reversed(range(7))]


def test_the_cursor_stays_right_while_decisions_arrive(api):
    post(api, *[payment(i) for i in range(6)])
    first = api.get(f"{URL}?limit=3").json
    post(api, *[payment(i) for i in range(6, 10)])
    rest = api.get(f"{URL}?limit=3&cursor={first['next_cursor']}").json
    assert [d["transaction_id"] for d in rest["decisions"]] == ["tx-2", "tx-1", "tx-0"] and rest["next_cursor"] is None


def test_a_cursor_keeps_to_its_filter(api):
    post(api, *[payment(i, card_id=f"k{i % 2}") for i in range(6)])
    first = api.get(f"{URL}?limit=2&card_id=k1").json
    rest = api.get(f"{URL}?limit=2&card_id=k1&cursor={first['next_cursor']}").json
    assert [d["transaction_id"] for d in first["decisions"] + rest["decisions"]] == ["tx-5", "tx-3", "tx-1"]


@pytest.mark.parametrize("field", ["customer_id", "card_id", "merchant_id"])
def test_filter_by_a_party(api, field):
    post(api, payment(1, **{field: "one"}), payment(2, **{field: "two"}), payment(3, **{field: "one"}))
    assert listed(api, **{field: "one"}) == ["tx-3", "tx-1"]
    assert listed(api, **{field: "nobody"}) == []
    post(api, payment(4, **{field: "one"}))
    assert listed(api, **{field: "one"}) == ["tx-4", "tx-3", "tx-1"], "the newest commit is seen at once"


def test_filter_by_transaction_id(api):
    post(api, payment(1), payment(2))
    assert listed(api, transaction_id="tx-2") == ["tx-2"]


def test_filter_by_outcome_and_score(api):
    post(api, payment(1), payment(2), payment(3))
    for name, outcome, score in (("tx-1", 0, 10), ("tx-2", 4, 900), ("tx-3", 2, 500)):
        Decision.objects.filter(transaction_id=name).update(outcome=outcome, score=score)
    assert listed(api, outcome="decline") == ["tx-2"]
    assert listed(api, outcome="approve") == ["tx-1"]
    assert listed(api, outcome="hold") == []
    assert listed(api, min_score=500) == ["tx-3", "tx-2"]
    assert listed(api, min_score=501, outcome="review") == []


def test_filter_by_event_time_is_start_inclusive_and_end_exclusive(api):
    post(api, payment(1), payment(2, DAY), payment(3, 2 * DAY))
    assert listed(api, **{"from": "2026-03-03T12:00:00Z"}) == ["tx-3", "tx-2"]
    assert listed(api, to="2026-03-03T12:00:00Z") == ["tx-1"]
    assert listed(api, **{"from": "2026-03-03T13:00:00+01:00", "to": "2026-03-04T12:00:00Z"}) == ["tx-2"]


def test_a_plus_sign_that_was_not_escaped_is_understood(api):
    post(api, payment(1))
    answer = api.get(f"{URL}?from=2026-03-02T13:00:00+01:00")
    assert answer.status == 200 and len(answer.json["decisions"]) == 1


def test_all_filters_together(api):
    post(api, payment(1), payment(2, card_id="other"))
    wanted = {
        "customer_id": "cust-alice",
        "card_id": "card-alice",
        "merchant_id": "merch-grocer",
        "transaction_id": "tx-1",
        "outcome": "review",
        "from": "2026-03-02T12:00:00Z",
        "to": "2026-03-02T12:00:01Z",
        "min_score": 0,
        "limit": 200,
    }
    assert listed(api, **wanted) == ["tx-1"]


@each(
    [
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "-1"),
        ("limit", "x"),
        ("limit", "1.5"),
        ("limit", "٣"),
        ("limit", ""),
        ("limit", "9" * 400),
        ("min_score", "-1"),
        ("min_score", "1001"),
        ("min_score", "NaN"),
        ("outcome", "maybe"),
        ("outcome", "4"),
        ("cursor", "x"),
        ("cursor", "czE*"),
        ("cursor", "ü"),
        ("cursor", "LTE"),
        ("from", "yesterday"),
        ("from", "2026-03-02"),
        ("from", "2026-03-02T12:00:00"),
        ("to", "2026-13-02T12:00:00Z"),
        ("from", "0001-01-01T00:00:00+14:00"),
        ("to", "9999-12-31T23:59:59-14:00"),
        ("to", "2026-02-30T00:00:00Z"),
        ("customer_id", "a\0b"),
        ("card_id", "x" * 65),
        ("merchant_id", "a b"),
        ("transaction_id", "'; --"),
        ("card_id", "\ud800"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(api, name, value):
    answer = api.get(f"{URL}?{name}={quote(value.encode('utf-8', 'surrogatepass'))}")
    problem = assert_problem(answer, 400, "invalid_input", f"/{name}")
    assert problem["errors"][0]["code"] == "invalid_parameter"


def test_a_cursor_beyond_any_row_is_harmless(api):
    import base64

    post(api, payment(1))
    cursor = base64.urlsafe_b64encode(b"s" + b"9" * 28).decode().rstrip("=")
    assert [d["transaction_id"] for d in api.get(f"{URL}?cursor={cursor}").json["decisions"]] in (["tx-1"], [])


def test_an_unknown_parameter_is_refused_and_not_repeated(api):
    problem = assert_problem(api.get(f"{URL}?customer=x&4111111111111111=1"), 400, "invalid_input")
    assert len(problem["errors"]) == 2 and "4111" not in str(problem)


def test_several_faults_are_told_at_once(api):
    assert_problem(api.get(f"{URL}?limit=x&outcome=y&from=z"), 400, "invalid_input", "/limit", "/outcome", "/from")


def test_head_is_answered_like_get_without_a_body(api):
    post(api, payment(1))
    assert api.send("HEAD", URL).status == 200
