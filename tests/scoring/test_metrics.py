"""/metrics of a process among others, and what is observed once a second."""

from __future__ import annotations

import logging
from datetime import timedelta

import numpy as np
import pytest
from django.db import DatabaseError
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from scoring import metrics
from scoring.decisions.schedule import new_scheduler
from scoring.durability import UnsafeSetting, _state
from scoring.engine import Priority
from scoring.histograms import DECIDE
from scoring.metrics import LAYOUT, close_metrics, observe_second, prometheus_text
from scoring.metrics_folder import MetricsFolder
from scoring.models import OutboxEvent
from scoring.protection.circuit_breaker import BreakerState
from scoring.protection.guards import discard_guards, guards
from tests.scoring.test_monitoring_files import IdleEngine

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.METRICS_DIR = tmp_path / "metrics"
    discard_guards()
    metrics._publisher.__init__()
    yield settings.METRICS_DIR
    close_metrics()
    discard_guards()


def samples_of(engine) -> dict[str, float]:
    text, _ = prometheus_text(engine)
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_whichever_process_is_asked_answers_for_all(folder):
    mine, other = IdleEngine(), IdleEngine()
    mine.counters.process, other.counters.process = "host:1", "host:2"
    other.counters.count_decisions(np.array([4, 4]), 1, np.array([0, 1 << 7]))
    other.counters.queue_depth, mine.counters.queue_depth = 5, 2
    other.program_version = "rules-2"
    beside = MetricsFolder(folder, "host:2", LAYOUT)
    beside.publish(metrics._counters_of(other), metrics._gauges_of(other, 7.0))
    found = samples_of(mine)
    assert found["risk_decisions_total{outcome=approve}"] == 2 and found["risk_decisions_total{outcome=decline}"] == 2
    assert found["risk_stamped_total{stamp=clock_step}"] == 1
    assert found["risk_queue_depth"] == 7 and found["risk_engine_processes"] == 2
    assert found["risk_outbox_lag_seconds"] == 7
    assert {"inference_latency_p99{process=host:1}", "inference_latency_p99{process=host:2}"} <= found.keys()
    assert {"risk_program_info{version=rules-1}", "risk_program_info{version=rules-2}"} <= found.keys()
    beside.close()
    after = samples_of(mine)
    assert after["risk_decisions_total{outcome=decline}"] == 2 and after["risk_queue_depth"] == 2
    assert "risk_program_info{version=rules-2}" not in after


def test_an_engine_that_is_built_again_in_this_process_adds_to_what_was():
    first, second = IdleEngine(), IdleEngine()
    assert samples_of(first)["risk_decisions_total{outcome=approve}"] == 1
    found = samples_of(second)
    assert found["risk_decisions_total{outcome=approve}"] == 2 and found["risk_engine_processes"] == 1
    assert samples_of(second)["risk_decisions_total{outcome=approve}"] == 2, "and is not added again"


def test_the_outbox_is_looked_at_once_in_a_while(monkeypatch, caplog):
    engine, now = IdleEngine(), timezone.now()
    assert "risk_outbox_lag_seconds" not in samples_of(engine), "not looked yet: unknown is not 0"
    OutboxEvent.objects.create(topic="alert.raise", subject="a", created_at=now - timedelta(seconds=90))
    OutboxEvent.objects.create(topic="alert.raise", subject="b", created_at=now)
    observe_second(engine)
    assert 90 <= samples_of(engine)["risk_outbox_lag_seconds"] < 120
    OutboxEvent.objects.all().delete()
    observe_second(engine)
    assert samples_of(engine)["risk_outbox_lag_seconds"] >= 90, "within five seconds it is not asked again"
    metrics._publisher._next_outbox = 0.0
    observe_second(engine)
    assert samples_of(engine)["risk_outbox_lag_seconds"] == 0
    metrics._publisher._next_outbox = 0.0
    monkeypatch.setattr(metrics, "outbox_lag_seconds", lambda now: (_ for _ in ()).throw(DatabaseError("gone")))
    with caplog.at_level(logging.WARNING, logger=metrics.__name__):
        observe_second(engine)
    assert "risk_outbox_lag_seconds" not in samples_of(engine) and "gone" in caplog.text


def test_guards_are_shown(monkeypatch):
    engine = IdleEngine()
    engine.counters.stages.observe(DECIDE, 0.5, 1)
    for _ in range(5):
        guards().database.record(False)
    assert guards().database.state is BreakerState.OPEN and not guards().database.allows()
    monkeypatch.setattr(_state, "allowed", [UnsafeSetting("fsync", "off", "turn it on")])
    observe_second(engine)
    found = samples_of(engine)
    process = engine.counters.process
    assert found[f"risk_breaker_state{{dependency=database,process={process}}}"] == 2
    assert found["risk_breaker_opened_total{dependency=database}"] == 1
    assert found["risk_breaker_refused_total{dependency=database}"] == 1
    assert found["risk_unsafe_durability{setting=fsync}"] == 1
    assert found["risk_disk_full"] == 0 and any(name.startswith("risk_disk_free_bytes{path=") for name in found)
    assert found["risk_device_busy_seconds_total{device=cpu}"] == pytest.approx(0.5)
    assert found["risk_commit_duration_seconds_count"] == 1, "the commit of the engine's one batch, and no work"


def test_the_scheduler_tells_what_it_let_in_and_what_a_batch_costs():
    engine, scheduler = IdleEngine(), new_scheduler()
    engine.counters.scheduling = dict  # as where nothing forms batches
    without = samples_of(engine)
    assert without["risk_arrivals_per_second"] == 0 and not any(name.startswith("risk_scheduled") for name in without)
    engine.counters.scheduling = scheduler.figures
    assert scheduler.admit(Priority.LIVE, 3, 1e9, 0.0) is None
    scheduler.queue.put(Priority.LIVE, "payments", 3, 0.0, 1e9)
    dispatch = scheduler.next(1.0)
    scheduler.start(dispatch, 1.0)
    scheduler.completed(dispatch, 1.0, 2_001.0, ok=False)
    found, process = samples_of(engine), engine.counters.process
    assert found["risk_scheduled_total{class=live,verdict=admitted}"] == 3
    assert found["risk_scheduled_total{class=bulk,verdict=refused}"] == 0
    assert found["risk_scheduler_batches_total{kind=failed}"] == 1 and found["risk_scheduler_batches_total{kind=spare}"] == 0
    assert found[f"risk_batch_cost_fixed_seconds{{process={process},unit=engine,variant=full}}"] == pytest.approx(0.001)
    assert found[f"risk_batch_cost_row_seconds{{process={process},unit=engine,variant=full}}"] == pytest.approx(30e-6)
    assert sum(value for name, value in found.items() if name.startswith("risk_scheduler_policy_info")) == 1


def test_the_learned_policy_tells_what_it_tried():
    engine = IdleEngine()
    policy = {"windows_by_tuning": [7, 2], "explored": 2, "held_after_change": 0, "switched_off": 1}
    engine.counters.scheduling = lambda: {"policy": "learned", "policy_figures": policy, "rate_changes": 4}
    found = samples_of(engine)
    assert found["risk_scheduler_policy_windows_total{tuning=1}"] == 2 and found["risk_scheduler_rate_changes_total"] == 4
    assert found["risk_scheduler_policy_events_total{event=switched_off}"] == 1
    assert found["risk_scheduler_policy_info{policy=learned}"] == 1
