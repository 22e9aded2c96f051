"""Labels, as services and commands record them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from scoring.decisions.known_labels import read_truths_after
from scoring.models import Decision, Label
from scoring.services.record_labels import record_labels
from scoring.transactions import holds_card_number
from tests.factories import make_decision

pytestmark = pytest.mark.any_database
NOW = datetime(2026, 3, 9, tzinfo=UTC)


def label(decision: Decision, **fields) -> dict:
    return {"decision_id": decision.decision_id, "label": "fraud", "source": "analyst", "reported_at": NOW.isoformat()} | fields


@pytest.mark.django_db
def test_who_recorded_it_and_when_is_kept():
    decision = make_decision()
    (result,) = record_labels([label(decision, occurred_at=decision.occurred_at.isoformat())], actor="alice")
    row = Label.objects.get(label_id=result["label_id"])
    assert (row.actor, row.occurred_at, row.reported_at) == ("alice", decision.occurred_at, NOW)
    assert abs(row.received_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"occurred_at": "2026-03-01T00:00:01Z"}, "/occurred_at", "other_time"),
        ({"reported_at": "2020-01-01T00:00:00Z"}, "/reported_at", "before_the_transaction"),
        ({"reported_at": "2036-01-01T00:00:00Z"}, "/reported_at", "in_the_future"),
    ],
)
def test_a_time_that_does_not_fit_the_transaction_is_refused(fields, param, code):
    (result,) = record_labels([label(make_decision(), **fields)], actor="alice")
    assert [(f["param"], f["code"]) for f in result["error"]["errors"]] == [(param, code)]
    assert not Label.objects.exists()


@pytest.mark.django_db
def test_without_an_event_time_it_is_the_transaction_s():
    decision = make_decision()
    record_labels([label(decision)], actor="alice")
    assert Label.objects.get().occurred_at == decision.occurred_at


@pytest.mark.django_db
def test_all_good_labels_of_a_call_are_stored_whatever_the_others_are():
    decision = make_decision()
    results = record_labels(
        [label(decision, label_id="a"), {}, label(decision, label_id="b", confidence=2), label(decision, label_id="c")], "alice"
    )
    assert [result["status"] for result in results] == [201, 400, 400, 201]
    assert sorted(Label.objects.values_list("label_id", flat=True)) == ["a", "c"]


@pytest.mark.django_db
def test_nothing_to_record():
    assert record_labels([], "alice") == []


@pytest.mark.django_db
def test_many_labels_take_few_statements(django_assert_max_num_queries):
    decisions = [make_decision() for _ in range(30)]
    with django_assert_max_num_queries(10):
        results = record_labels([label(decision, label_id=f"l{i}") for i, decision in enumerate(decisions)], "alice")
    assert {result["status"] for result in results} == {201}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("reports", "fraud"),
    [
        ([("fraud", 1)], 1),
        ([("legitimate", 1)], 0),
        ([("chargeback", 1)], 1),
        ([("fraud", 1), ("legitimate", 2)], 0),
        ([("fraud", 2), ("legitimate", 1)], 1),
        ([("fraud", 1), ("dispute", 2)], 1),
        ([("legitimate", 1), ("fraud", 1)], 1),
    ],
)
def test_the_latest_report_is_the_truth_and_of_equal_ones_the_last_to_arrive(reports, fraud):
    decision = make_decision()
    for kind, day in reports:
        record_labels([label(decision, label=kind, reported_at=(NOW + timedelta(days=day)).isoformat())], "alice")
    decision.transaction = _canonical(decision)
    decision.save()
    (truths,) = read_truths_after(0)
    assert truths.decision_ids == [decision.decision_id] and truths.fraud.tolist() == [fraud]


@pytest.mark.django_db
def test_a_dispute_alone_is_no_truth():
    decision = make_decision()
    record_labels([label(decision, label="dispute")], "alice")
    (truths,) = read_truths_after(0)
    assert truths.decision_ids == [] and truths.last_label_id == Label.objects.get().pk


@pytest.mark.django_db
def test_labels_are_read_once_and_in_chunks(monkeypatch):
    import scoring.decisions.known_labels as module

    monkeypatch.setattr(module, "_CHUNK", 2)
    decisions = [make_decision() for _ in range(5)]
    for decision in decisions:
        decision.transaction = _canonical(decision)
        decision.save()
    record_labels([label(decision) for decision in decisions], "alice")
    read = list(read_truths_after(0))
    assert [len(truths.decision_ids) for truths in read] == [2, 2, 1]
    assert list(read_truths_after(read[-1].last_label_id)) == []


def _canonical(decision: Decision) -> str:
    import json

    body = json.loads(decision.transaction)
    return json.dumps(body | {"occurred_at": decision.occurred_at.isoformat()})


@pytest.mark.django_db(transaction=True)
def test_labels_become_visible_in_the_order_of_their_ids():
    """Engines read by ascending id and never look back: a label that commits behind a higher id would be lost."""
    decision = make_decision()
    stored, may_commit, second_done = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            record_labels([label(decision, label_id="first")], "alice")
            stored.set()
            assert may_commit.wait(20)
        connection.close()

    def second() -> None:
        assert stored.wait(20)
        record_labels([label(decision, label_id="second")], "bob")
        second_done.set()
        connection.close()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    assert stored.wait(20)
    assert not second_done.wait(0.3), "the second must wait until the first can be seen"
    assert not Label.objects.exists()
    may_commit.set()
    for thread in threads:
        thread.join(30)
    assert second_done.is_set()
    assert list(Label.objects.order_by("id").values_list("label_id", flat=True)) == ["first", "second"]


@pytest.mark.django_db(transaction=True)
def test_two_senders_of_one_label_id_make_one_label():
    decision = make_decision()
    results, ready = [], threading.Barrier(4)

    def send() -> None:
        ready.wait(20)
        results.extend(record_labels([label(decision, label_id="same")], "alice"))
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(result["status"] for result in results) == [200, 200, 200, 201]
    assert Label.objects.count() == 1


@pytest.mark.django_db
def test_a_decision_id_that_happens_to_look_like_a_card_number_is_one_of_ours():
    decision = make_decision(decision_id="a4111111-1111-4111-8119-aaaaaaaaaaaa", transaction_id="t-alike")
    assert holds_card_number(decision.decision_id)
    (result,) = record_labels([label(decision, label_id="alike")], "alice")
    assert result["status"] == 201
