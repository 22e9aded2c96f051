"""The counters of the engine processes of this host in Prometheus' text format.

Read when asked for: counting costs the decision path next to nothing. Each process publishes its numbers to a folder, and
whichever is asked answers with the totals of all (scoring/metrics_folder.py); gauges that belong to one process name it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from scoring.decisions.engine import DecisionEngine
from scoring.decisions.stamps import WORDS
from scoring.durability import allowed_unsafe_settings
from scoring.histograms import AGE_BOUNDS, BATCH_BOUNDS, LATENCY_BOUNDS_MS, STAGE_BOUNDS, STAGES
from scoring.metric_families import Families
from scoring.metrics_folder import MetricsFolder, Totals
from scoring.models import Outcome
from scoring.protection.guards import guards
from scoring.selectors.latency import percentile_ms
from scoring.selectors.outbox import outbox_lag_seconds
from scoring.telemetry import SHED_REASONS, EngineCounters

logger = logging.getLogger(__name__)

# Numbers of processes whose counters have another shape cannot be added up.
_SHAPE = [LATENCY_BOUNDS_MS, STAGE_BOUNDS, BATCH_BOUNDS, AGE_BOUNDS, STAGES, WORDS, SHED_REASONS, [o.label for o in Outcome]]
LAYOUT = hashlib.sha256(repr(_SHAPE).encode()).hexdigest()[:16]
_OUTBOX_EVERY_SECONDS = 5.0


def prometheus_text(engine: DecisionEngine | None) -> tuple[bytes, str]:
    """Return (text, content type); without an engine only that it is missing."""
    totals = None
    if engine is not None:
        _publisher.publish(engine)
        totals = _publisher.totals()
    registry = CollectorRegistry()
    registry.register(Families(totals))
    return generate_latest(registry), CONTENT_TYPE_LATEST


_VERDICTS = ("admitted", "refused", "late")


def observe_second(engine: DecisionEngine) -> None:
    """Look at disk, clock and outbox, and publish this process's numbers.

    To be called about once a second by a thread with a database connection of its own, and not by the event loop.
    """
    guards().look()
    _publisher.measure_outbox()
    engine.counters.tick(time.monotonic())
    _publisher.publish(engine)


def close_metrics() -> None:
    """Leave this process's numbers to the others; called once it decides no more."""
    _publisher.close()


class _Publisher:
    """This process's file in the folder: a new one for each engine, as its counters begin again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: MetricsFolder | None = None
        self._counters: EngineCounters | None = None
        self._outbox_lag: float | None = None
        self._next_outbox = 0.0

    def publish(self, engine: DecisionEngine) -> None:
        with self._lock:
            if self._counters is not engine.counters or self._folder is None:
                self._close()
                self._counters = engine.counters
                self._folder = MetricsFolder(settings.METRICS_DIR, engine.counters.process, LAYOUT)
            self._folder.publish(_counters_of(engine), _gauges_of(engine, self._outbox_lag))

    def totals(self) -> Totals:
        with self._lock:
            assert self._folder is not None, "publish comes first"
            return self._folder.totals()

    def measure_outbox(self) -> None:
        now = time.monotonic()
        if now < self._next_outbox:
            return
        self._next_outbox = now + _OUTBOX_EVERY_SECONDS
        try:
            self._outbox_lag = outbox_lag_seconds(datetime.now(UTC))
        except DatabaseError as error:
            self._outbox_lag = None  # not known is not nothing: the metric goes away, and an alert says so
            logger.warning("the outbox cannot be looked at: %s", error)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._folder is not None:
            self._folder.close()
        self._folder = self._counters = None


_publisher = _Publisher()


def _counters_of(engine: DecisionEngine) -> dict[str, Any]:
    ladder, guard = engine.ladder_counters(), guards()
    return engine.counters.state() | _scheduler_counters(engine.counters.scheduling()) | {
        "ladder": {
            "static": ladder.hits, "dynamic": ladder.dynamic, "miss": ladder.misses,
            "guard_failure": ladder.guard_failures, "busy": ladder.busy,
        },
        "promotions": ladder.promotions, "recompiles": ladder.recompiles, "failed_builds": ladder.failed_builds,
        "device_failures": ladder.device_failures,
        "program_swaps": engine.program_swaps,
        "rate_limit": {"granted": guard.limiter.granted, "refused": guard.limiter.refused},
        "rate_limit_failures": guard.limiter.failed_exchanges,
        "breaker_opened": {breaker.name: breaker.opened for breaker in guard.breakers},
        "breaker_refused": {breaker.name: breaker.refused for breaker in guard.breakers},
        "clock_steps": guard.clock.steps,
        "shared_log": engine.shared_log_counters(),
    }  # fmt: skip


def _scheduler_counters(found: dict[str, Any]) -> dict[str, Any]:
    policy = found.get("policy_figures", {})
    return {
        "scheduled": {
            f"{of} {verdict}": count[verdict] for of, count in found.get("classes", {}).items() for verdict in _VERDICTS
        },
        "scheduler_batches": {kind: found.get(f"{kind}_batches", 0) for kind in ("reduced", "spare", "failed")},
        "rate_changes": found.get("rate_changes", 0),
        "policy_windows": {str(arm): count for arm, count in enumerate(policy.get("windows_by_tuning", ()))},
        "policy_events": {event: policy.get(event, 0) for event in ("explored", "held_after_change", "switched_off")},
    }


def _scheduler_gauges(found: dict[str, Any]) -> dict[str, Any]:
    costs = {
        f"{unit} {variant}": [line["fixed_us"] / 1e6, line["row_us"] / 1e6]
        for unit, of in found.get("units", {}).items()
        for variant, line in of["variants"].items()
    }
    return {"arrivals_per_s": found.get("arrivals_per_s", 0.0), "costs": costs, "policy": found.get("policy")}


def _gauges_of(engine: DecisionEngine, outbox_lag: float | None) -> dict[str, Any]:
    counters, guard, now = engine.counters, guards(), time.monotonic()
    p99 = percentile_ms(counters.recent_latency(), 0.99)
    return _scheduler_gauges(counters.scheduling()) | {
        "queue_depth": counters.queue_depth, "in_flight": counters.in_flight,
        "feature_events": engine.state.event_count(), "feature_bytes": engine.state.memory_bytes(),
        "release_refused": int(engine.refused_release is not None),
        "program": engine.program_version,
        "static_programs": engine.ladder_counters().static_programs,
        "p99": None if p99 is None else p99 / 1000,
        "busy": counters.busy_share(now),
        "breakers": {breaker.name: int(breaker.state) for breaker in guard.breakers},
        "rate_limit_shared": int(guard.limiter.is_shared), "rate_limit_store": int(guard.limiter.store_answers),
        "disk": {volume: [space.free, space.used_share] for volume, space in guard.disk.spaces.items()},
        "disk_full": int(guard.disk.full is not None), "disk_alarm": int(guard.disk.is_alarming),
        "clock_stepped": int(guard.clock.has_stepped),
        "unsafe": {setting.name: 1 for setting in allowed_unsafe_settings()},
        "outbox_lag": outbox_lag,
        "shared_log_lost": engine.shared_log_lost(),
    }  # fmt: skip
