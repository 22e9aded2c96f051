"""Tasks are thin and safe to repeat, take JSON only, and need the broker for nothing but speed."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from celery import Celery
from django.db import connection
from django.utils import timezone
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads

from riskapp.celery import app
from scoring import tasks
from scoring.learning import sweep
from scoring.models import Alert, AuditEntry, OutboxEvent, TrainingRun
from scoring.services.start_training import MANUAL, SCHEDULE, open_run, start_training
from tests.scoring.learning.ledger import FIRST_DAY, add_decision
from tests.servers.redis_server import client_of

pytestmark = pytest.mark.any_database


@pytest.fixture
def nudged(monkeypatch) -> list[int]:
    """The ids of the runs for which a message was sent."""
    ids: list[int] = []
    monkeypatch.setattr("scoring.services.start_training.nudge", ids.append)
    return ids


def test_a_worker_reads_json_and_nothing_else():
    assert app.conf.task_serializer == "json"
    pickled = b"\x80\x04K\x01."
    with pytest.raises(ContentDisallowed):
        loads(pickled, "application/x-python-serialize", "binary", accept=app.conf.accept_content)


def test_a_message_is_kept_until_its_task_is_done_and_fetched_one_at_a_time():
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1


def test_the_schedule_names_tasks_that_exist():
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert scheduled == {"scoring.retrain", "scoring.sweep_leases", "scoring.drain_outbox", "scoring.prune_samples"}
    assert scheduled <= set(app.tasks)


@pytest.mark.django_db
def test_two_schedulers_in_one_period_make_one_run():
    tasks.retrain()
    tasks.retrain()
    run = TrainingRun.objects.get()
    assert (run.trigger, run.state, run.attempts) == ("schedule", "skipped", 1)
    assert run.slot.startswith("schedule-")
    assert AuditEntry.objects.filter(action="training.start").count() == 1


@pytest.mark.django_db
def test_the_next_period_has_a_run_of_its_own(settings):
    tasks.retrain()
    settings.RETRAIN_EVERY_SECONDS = 3600.0
    tasks.retrain()
    assert TrainingRun.objects.count() == 2


@pytest.mark.django_db
def test_a_period_that_begins_while_a_run_is_unfinished_adds_none(settings):
    first = open_run(SCHEDULE, actor="test")
    settings.RETRAIN_EVERY_SECONDS = 1.5
    assert open_run(SCHEDULE, actor="test") == first


@pytest.mark.django_db
def test_a_message_for_a_finished_run_does_nothing():
    tasks.retrain()
    run = TrainingRun.objects.get()
    tasks.retrain(run_id=run.pk)
    run.refresh_from_db()
    assert run.attempts == 1


@pytest.mark.django_db(transaction=True)
def test_schedulers_at_the_same_moment_make_one_run():
    together = threading.Barrier(4)

    def fire(_):
        together.wait()
        try:
            return open_run(SCHEDULE, actor="beat").pk
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(fire, range(4)))
    assert len(ids) == TrainingRun.objects.count() == 1


@pytest.mark.django_db
def test_a_manual_start_is_recorded_and_nudges_after_the_commit(nudged, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        run = start_training(MANUAL, actor="alice")
        assert nudged == []
    assert nudged == [run.pk]
    assert AuditEntry.objects.get().actor == "alice"
    with django_capture_on_commit_callbacks(execute=True):
        assert start_training(MANUAL, actor="bob") == run
    assert TrainingRun.objects.count() == 1


@pytest.mark.django_db
def test_an_unknown_trigger_is_refused():
    with pytest.raises(ValueError, match="trigger must be"):
        open_run("whenever", actor="test")


@pytest.mark.django_db
def test_without_a_broker_the_run_waits_and_nothing_fails(monkeypatch, tmp_path, django_capture_on_commit_callbacks, caplog):
    away = Celery("away", broker=f"redis+socket://{tmp_path / 'no-redis.sock'}", set_as_current=False)
    monkeypatch.setattr(sweep, "current_app", away)
    began = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True):
        run = start_training(MANUAL, actor="alice")
    assert time.monotonic() - began < 3  # someone may be waiting at a button
    assert TrainingRun.objects.get(pk=run.pk).state == "pending"
    assert "waits for the sweeper" in caplog.text


@pytest.mark.django_db
def test_the_sweeper_sends_a_waiting_run_through_the_real_broker(redis_url):
    run = open_run(MANUAL, actor="alice")
    TrainingRun.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    tasks.sweep_leases()
    with client_of(redis_url) as client:
        (raw,) = client.lrange("celery", 0, -1)
    message = json.loads(raw)
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == "scoring.retrain"
    assert message["headers"]["expires"] is not None
    assert f'"run_id": {run.pk}' in message["headers"]["kwargsrepr"].replace("'", '"')


@pytest.mark.django_db
def test_draining_twice_raises_an_alert_once():
    decision = add_decision(FIRST_DAY, outcome=2)
    OutboxEvent.objects.create(topic="alert.raise", subject=decision.decision_id, created_at=timezone.now())
    tasks.drain_outbox()
    tasks.drain_outbox()
    assert Alert.objects.get().decision == decision


@pytest.mark.django_db(transaction=True)
def test_a_forked_worker_child_opens_a_database_connection_of_its_own():
    """What a prefork child inherits is closed before its first task, so that it never talks on its parent's connection."""
    from celery.fixups.django import DjangoWorkerFixup

    TrainingRun.objects.count()
    inherited = connection.connection
    assert inherited is not None
    child = os.fork()
    if child == 0:
        # Nothing may escape this block: an exception would run the rest of the test session in the child.
        code = 1
        try:
            DjangoWorkerFixup(app).on_worker_process_init()
            closed = connection.connection is None
            TrainingRun.objects.count()
            code = 0 if closed and connection.connection is not inherited else 2
        finally:
            os._exit(code)
    watchdog = threading.Timer(20, os.kill, (child, signal.SIGKILL))
    watchdog.start()
    _, status = os.waitpid(child, 0)
    watchdog.cancel()
    assert os.waitstatus_to_exitcode(status) == 0
    assert TrainingRun.objects.count() == 0  # the parent's connection still works
