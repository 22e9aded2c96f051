"""Each committed decision that needs an analyst gets one alert, whatever fails or runs twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from scoring.models import Alert, OutboxEvent
from scoring.services import drain_outbox as outbox
from scoring.services.drain_outbox import MAX_ATTEMPTS, Drained, drain_outbox
from tests.scoring.learning.ledger import FIRST_DAY, add_decision

pytestmark = pytest.mark.any_database


def add_event(decision_id: str, topic: str = "alert.raise") -> OutboxEvent:
    return OutboxEvent.objects.create(topic=topic, subject=decision_id, created_at=timezone.now())


def stopped(score: int = 700):
    decision = add_decision(FIRST_DAY, outcome=3, score=score)
    add_event(decision.decision_id)
    return decision


@pytest.mark.django_db
def test_an_event_becomes_an_alert_and_leaves_the_table():
    decision = stopped(score=812)
    assert drain_outbox() == Drained(done=1)
    alert = Alert.objects.get(decision=decision)
    assert (alert.state, alert.outcome, alert.score) == ("open", 3, 812)
    assert not OutboxEvent.objects.exists()
    assert drain_outbox() == Drained()


@pytest.mark.django_db
def test_a_repeated_event_changes_nothing():
    decision = stopped()
    add_event(decision.decision_id)
    assert drain_outbox() == Drained(done=2)
    Alert.objects.filter(decision=decision).update(state="closed")
    add_event(decision.decision_id)
    assert drain_outbox() == Drained(done=1)
    assert Alert.objects.get().state == "closed"


@pytest.mark.django_db
def test_many_events_are_carried_out_over_several_chunks(monkeypatch):
    monkeypatch.setattr(outbox, "CHUNK_EVENTS", 4)
    decisions = [stopped() for _ in range(10)]
    assert drain_outbox() == Drained(done=10)
    assert set(Alert.objects.values_list("decision_id", flat=True)) == {decision.pk for decision in decisions}


@pytest.mark.django_db
def test_a_bad_event_is_kept_with_its_error_and_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(outbox, "CHUNK_EVENTS", 3)
    unknown_decision = add_event("no-such-decision")
    unknown_topic = add_event(stopped().decision_id, topic="no.such.topic")
    for _ in range(5):
        stopped()
    assert drain_outbox() == Drained(done=6, failed=2)
    assert Alert.objects.count() == 6
    unknown_decision.refresh_from_db()
    unknown_topic.refresh_from_db()
    assert (unknown_decision.attempts, unknown_decision.last_error) == (1, "there is no decision no-such-decision")
    assert unknown_topic.last_error == "no effect is known for topic 'no.such.topic'"


@pytest.mark.django_db
def test_a_bad_event_is_left_alone_after_its_last_attempt():
    bad = add_event("no-such-decision")
    for _ in range(MAX_ATTEMPTS):
        assert drain_outbox() == Drained(failed=1)
    assert drain_outbox() == Drained()
    bad.refresh_from_db()
    assert bad.attempts == MAX_ATTEMPTS


@pytest.mark.django_db
def test_a_database_that_is_away_costs_no_attempt(monkeypatch):
    stopped()

    def locked(decision_ids):
        raise OperationalError("database is locked")

    monkeypatch.setattr(outbox, "_raise_alerts", locked)
    with pytest.raises(OperationalError):
        drain_outbox()
    assert OutboxEvent.objects.get().attempts == 0


@pytest.mark.django_db(transaction=True)
def test_a_crash_between_alert_and_removal_leaves_both_undone(monkeypatch):
    stopped()

    class Killed(BaseException):
        pass

    def raise_alerts_and_die(decision_ids, _raise_alerts=outbox._raise_alerts):
        _raise_alerts(decision_ids)
        assert Alert.objects.count() == 1
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_raise_alerts", raise_alerts_and_die)
        with pytest.raises(Killed):
            drain_outbox()
    assert Alert.objects.count() == 0
    assert drain_outbox() == Drained(done=1)
    assert Alert.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_drainers_at_once_raise_each_alert_once(monkeypatch):
    monkeypatch.setattr(outbox, "CHUNK_EVENTS", 5)
    decisions = [stopped() for _ in range(60)]
    for decision in decisions[::3]:
        add_event(decision.decision_id)  # the same decision twice, likely in the hands of both
    together = threading.Barrier(2)

    def drain() -> Drained:
        together.wait()
        try:
            return drain_outbox()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        results = [future.result() for future in [pool.submit(drain), pool.submit(drain)]]
    drain_outbox()  # whatever both had passed over while the other held it
    assert Alert.objects.count() == 60
    assert not OutboxEvent.objects.exists()
    assert sum(result.failed for result in results) == 0
