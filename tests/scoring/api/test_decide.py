"""POST /api/v1/decisions, /dry-run and GET of one decision."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from scoring.features.schema import current_schema
from scoring.models import Decision
from scoring.stored_answers import stored_answer
from tests.scoring.api.conftest import payment, stored
from tests.scoring.api.documents import assert_conforms, assert_problem

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]
URL, DRY_RUN = "/api/v1/decisions", "/api/v1/decisions/dry-run"


def test_an_accepted_transaction_gets_one_documented_decision(api):
    before = datetime.now(UTC)
    answer = api.post(URL, payment(1))
    assert (answer.status, answer.content_type) == (200, "application/json")
    told = answer.json
    assert_conforms(told, "DecisionBody")
    assert (told["transaction_id"], told["status"], told["occurred_at"]) == ("tx-1", "new", "2026-03-02T12:00:00.000000Z")
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(told["received_at"]) <= datetime.now(UTC)
    assert "idempotent-replayed" not in answer.headers
    assert stored_answer(Decision.objects.get()) == answer.body


def test_the_decision_is_stored_before_it_is_told(api):
    told = api.post(URL, payment(1)).json
    assert Decision.objects.filter(decision_id=told["decision_id"]).exists()


def test_a_champion_gives_a_probability_and_reasons(api, make_champion):
    make_champion("v1")
    told = api.post(URL, payment(1, amount_minor=90_000)).json
    assert_conforms(told, "DecisionBody")
    assert (told["mode"], told["degraded"], told["versions"]["program"]) == ("normal", False, "v1")
    assert 0 < told["probability"] < 1 and 1 <= len(told["reasons"]) <= 4
    assert [reason["weight"] for reason in told["reasons"]] == sorted(
        (reason["weight"] for reason in told["reasons"]), reverse=True
    )


def test_the_same_body_gets_the_same_bytes_and_says_so(api):
    first = api.post(URL, payment(1))
    body = json.dumps(dict(reversed(payment(1).items())), indent=3).encode()
    for again in (api.post(URL, payment(1)), api.post(URL, body)):
        assert again.body == first.body and again.status == 200
        assert again.headers["idempotent-replayed"] == "true"
    assert Decision.objects.count() == 1


def test_another_body_under_the_same_id_is_refused(api):
    first = api.post(URL, payment(1))
    body = assert_problem(api.post(URL, payment(1, amount_minor=1)), 409, "transaction_conflict")
    assert body["retryable"] is False and "errors" not in body
    assert api.post(URL, payment(1)).body == first.body


def test_every_field_of_the_contract_is_accepted(api):
    full = payment(
        1, account_id="a:1", counterparty_id="b_1", mcc="0742", country="NL", home_country="DE", latitude=-52.25, longitude=180,
        card_present=False, is_recurring=True, ip="2001:db8::1", occurred_at="2026-03-02T13:00:00.123456+01:00",
    )  # fmt: skip
    answer = api.post(URL, full, "application/json; charset=utf-8")
    assert answer.status == 200 and answer.json["occurred_at"] == "2026-03-02T12:00:00.123456Z"


@pytest.mark.parametrize(
    "changed",
    [{"amount_minor": 0}, {"amount_minor": 10**12}, {"transaction_id": "x" * 64}, {"occurred_at": "1970-01-01T00:00:00Z"}],
)
def test_bounds_are_inclusive(api, changed):
    assert api.post(URL, payment(1) | changed).status == 200


def test_a_moment_of_clock_skew_is_allowed(api):
    soon = datetime.now(UTC) + timedelta(seconds=200)
    assert api.post(URL, payment(1, occurred_at=soon.isoformat())).status == 200


# --- one decision --------------------------------------------------------------------------------------------------------


def test_a_decision_can_be_read_back_with_features_and_labels(api):
    told = api.post(URL, payment(1, country="DE")).json
    label = {
        "transaction_id": "tx-1",
        "label": "fraud",
        "source": "network",
        "reported_at": "2026-03-05T00:00:00Z",
        "fraud_type": "stolen_card",
        "label_id": "l1",
    }
    assert api.post("/api/v1/labels", label).status == 201
    answer = api.get(f"{URL}/{told['decision_id']}")
    assert answer.status == 200
    body = answer.json
    assert_conforms(body, "DecisionDetail")
    assert {name: body[name] for name in told} == told
    assert body["transaction"] == payment(1, country="DE")
    assert list(body["features"]) == list(current_schema().names)
    assert body["features"]["amount_minor"] == 2_500 and body["features"]["card.mean.24h"] is None
    assert body["labels"] == [
        {
            "label_id": "l1",
            "label": "fraud",
            "fraud_type": "stolen_card",
            "source": "network",
            "confidence": 1.0,
            "reported_at": "2026-03-05T00:00:00Z",
        }
    ]


@pytest.mark.parametrize(
    "unknown", ["nothing", "01933d5e-0000-7000-8000-000000000000", "%00", "a%0ab", "%F0%9F%92%B3", "x" * 300]
)
def test_a_decision_that_is_not_there(api, unknown):
    assert_problem(api.get(f"{URL}/{unknown}"), 404, "decision_not_found")


# --- dry runs ------------------------------------------------------------------------------------------------------------


def test_a_dry_run_answers_and_leaves_no_trace(api):
    api.post(URL, payment(1))
    before = stored()
    answer = api.post(DRY_RUN, payment(2, timedelta(hours=1)))
    assert (answer.status, answer.content_type) == (200, "application/json")
    body = answer.json
    assert_conforms(body, "DryRunBody")
    assert (body["decision_id"], body["status"], body["transaction_id"]) == (None, "dry_run", "tx-2")
    assert body["features"]["card.count.24h"] == 1
    again = api.post(DRY_RUN, payment(2, timedelta(hours=1))).json
    assert again["features"] == body["features"]
    assert stored() == before
    assert api.post(URL, payment(2, timedelta(hours=1))).headers.get("idempotent-replayed") is None
    assert_problem(api.get(f"{URL}/None"), 404, "decision_not_found")


def test_a_dry_run_of_a_decided_transaction_looks_at_it_anew(api):
    api.post(URL, payment(1))
    body = api.post(DRY_RUN, payment(1)).json
    assert body["status"] == "dry_run" and body["features"]["card.count.24h"] == 1
