"""POST /api/v1/labels: one, many, again."""

from __future__ import annotations

import json

import pytest

from scoring.models import Label
from tests.scoring.api.cases import each
from tests.scoring.api.conftest import payment, stored
from tests.scoring.api.documents import assert_conforms, assert_problem

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/labels"


@pytest.fixture
def api(asgi_api):
    """As the server runs it; test_same_answers.py compares both ways."""
    return asgi_api


@pytest.fixture(autouse=True)
def _decisions(api):
    api.post("/api/v1/decisions/batch", [payment(1), payment(2)])


def label(number: int = 1, **fields) -> dict:
    body = {
        "transaction_id": f"tx-{number}",
        "label": "fraud",
        "source": "network",
        "reported_at": "2026-03-05T08:00:00Z",
    } | fields
    return {name: value for name, value in body.items() if value is not None}


@pytest.mark.any_database
def test_one_label(api):
    answer = api.post(URL, label(fraud_type="stolen_card", confidence=0.9, label_id="l1"))
    assert (answer.status, answer.content_type) == (201, "application/json")
    assert_conforms(answer.json, "LabelResults")
    assert answer.json == {"results": [{"index": 0, "status": 201, "label_id": "l1"}]}
    row = Label.objects.get()
    assert (row.label_id, row.label, row.source, row.fraud_type, row.confidence) == ("l1", "fraud", "network", "stolen_card", 0.9)
    assert row.decision.transaction_id == "tx-1" and row.actor == "test"
    assert row.reported_at.isoformat() == "2026-03-05T08:00:00+00:00" and row.occurred_at == row.decision.occurred_at


def test_a_label_may_name_the_decision(api):
    decision_id = api.post("/api/v1/decisions", payment(2)).json["decision_id"]
    assert api.post(URL, label(transaction_id=None, decision_id=decision_id)).status == 201
    assert Label.objects.get().decision.transaction_id == "tx-2"


@pytest.mark.any_database
def test_without_an_id_of_its_own_a_label_gets_one(api):
    ids = [api.post(URL, label()).json["results"][0]["label_id"] for _ in range(2)]
    assert len(set(ids)) == 2 == Label.objects.count()


@pytest.mark.any_database
@pytest.mark.parametrize("wrap", [lambda labels: labels, lambda labels: {"labels": labels}], ids=["array", "object"])
def test_many_labels_each_get_a_result(api, wrap):
    sent = [
        label(1, label_id="a"),
        label(9),
        label(2, label="nonsense"),
        {},
        5,
        label(2, label="legitimate", label_id="b"),
        label(1, label_id="a"),
        label(1, label_id="a", label="legitimate"),
    ]
    answer = api.post(URL, wrap(sent))
    assert answer.status == 200
    assert_conforms(answer.json, "LabelResults")
    assert [r["status"] for r in answer.json["results"]] == [201, 404, 400, 400, 400, 201, 200, 409]
    assert [r["index"] for r in answer.json["results"]] == list(range(8))
    assert answer.json["results"][2]["error"]["errors"][0]["param"] == "/label"
    assert sorted(Label.objects.values_list("label_id", flat=True)) == ["a", "b"]


@pytest.mark.any_database
def test_the_same_label_again_changes_nothing(api):
    first = api.post(URL, label(label_id="l1"))
    again = api.post(URL, label(label_id="l1"))
    assert (first.status, again.status) == (201, 200)
    assert again.json == {"results": [{"index": 0, "status": 200, "label_id": "l1"}]}
    assert Label.objects.count() == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"label": "legitimate"},
        {"source": "analyst"},
        {"confidence": 0.5},
        {"reported_at": "2026-03-06T08:00:00Z"},
        {"fraud_type": "other"},
        {"transaction_id": "tx-2"},
    ],
)
def test_another_content_under_the_same_id_is_refused(api, changed):
    api.post(URL, label(label_id="l1"))
    assert_problem(api.post(URL, label(label_id="l1") | changed), 409, "label_conflict")
    assert Label.objects.count() == 1


@pytest.mark.any_database
@pytest.mark.parametrize("name", [{"transaction_id": "unknown"}, {"transaction_id": None, "decision_id": "unknown"}])
def test_a_label_of_an_unknown_decision_is_refused(api, name):
    assert_problem(api.post(URL, label(**name)), 404, "decision_not_found")
    assert Label.objects.count() == 0


@each(
    [
        ({"transaction_id": None}, [""]),
        ({"decision_id": "x"}, [""]),
        ({"label": "good"}, ["/label"]),
        ({"label": None}, ["/label"]),
        ({"source": "me"}, ["/source"]),
        ({"reported_at": None}, ["/reported_at"]),
        ({"reported_at": "2026-03-05"}, ["/reported_at"]),
        ({"reported_at": "0001-01-01T00:00:00+14:00"}, ["/reported_at"]),
        ({"reported_at": "9999-12-31T23:59:59-14:00"}, ["/reported_at"]),
        ({"reported_at": 5}, ["/reported_at"]),
        ({"occurred_at": "1969-12-31T23:59:59Z"}, ["/occurred_at"]),
        ({"confidence": 1.01}, ["/confidence"]),
        ({"confidence": -0.01}, ["/confidence"]),
        ({"confidence": "1"}, ["/confidence"]),
        ({"fraud_type": "x" * 41}, ["/fraud_type"]),
        ({"fraud_type": "a b"}, ["/fraud_type"]),
        ({"fraud_type": "a\n"}, ["/fraud_type"]),
        ({"label_id": ""}, ["/label_id"]),
        ({"label_id": "x" * 65}, ["/label_id"]),
        ({"label_id": "l\n"}, ["/label_id"]),
        ({"label_id": "4111-1111-1111-1111"}, ["/label_id"]),
        ({"fraud_type": "4111111111111111"}, ["/fraud_type"]),
        ({"verdict": "x"}, ["/verdict"]),
        ({"transaction_id": "a\0"}, ["/transaction_id"]),
        ({"label": "x", "source": "y", "confidence": 7}, ["/label", "/source", "/confidence"]),
    ],
)
def test_a_label_with_a_fault_is_refused_and_the_place_told(api, changed, params):
    before = stored()
    assert_problem(api.post(URL, label(**changed)), 400, "invalid_input", *params)
    assert stored() == before


@each(
    [
        (b"", None),
        (b"[]", "batch_size"),
        (b'{"labels":[]}', "batch_size"),
        (b"null", "not_an_object"),
        (b"7", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"{", "malformed_json"),
        (b"[NaN]", "malformed_json"),
        (b"[" * 10_000, "too_deep"),
        (b'{"a":' * 10_000, "too_deep"),
        (b"\xff", "malformed_json"),
        (b'{"labels":{}}', None),
        (b'{"confidence":1e400}', "malformed_json"),
        (b'{"label":"fraud","label":"legitimate"}', "duplicate_key"),
    ],
)
def test_a_body_that_is_no_label_is_refused(api, body, code):
    before = stored()
    problem = assert_problem(api.post(URL, body), 400, "invalid_input")
    assert code is None or [error["code"] for error in problem["errors"]] == [code]
    assert stored() == before


def test_more_labels_than_a_batch_may_have_are_refused(api, settings):
    settings.MAX_BATCH_ITEMS = 5
    problem = assert_problem(api.post(URL, [label(label_id=f"l{i}") for i in range(6)]), 400, "invalid_input")
    assert problem["errors"][0]["code"] == "batch_size" and Label.objects.count() == 0
    assert api.post(URL, [label(label_id=f"l{i}") for i in range(5)]).status == 200


def test_a_body_beyond_the_limit_is_refused(api, monkeypatch):
    from scoring.api.views.labels import LabelsView

    monkeypatch.setattr(LabelsView, "max_body_bytes", 300)
    assert_problem(api.post(URL, json.dumps([label()] * 5).encode()), 413, "body_too_large")
    assert api.post(URL, label()).status == 201
