"""The counters of this process in Prometheus' text format. Read when asked for: counting costs the decision path nothing."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from scoring.decisions.engine import DecisionEngine
from scoring.engine import LadderCounters
from scoring.models import Outcome
from scoring.telemetry import LATENCY_BOUNDS_MS, EngineCounters


def prometheus_text(engine: DecisionEngine | None) -> tuple[bytes, str]:
    """Return (text, content type); without an engine only that it is missing."""
    registry = CollectorRegistry()
    registry.register(_EngineCollector(engine))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _EngineCollector:
    def __init__(self, engine: DecisionEngine | None) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("risk_engine_up", "1 where the engine takes requests", value=float(self._engine is not None))
        if self._engine is None:
            return
        counters = self._engine.counters
        yield from _totals(counters)
        yield from _ladder(self._engine.ladder_counters())
        yield _latency(counters)
        yield GaugeMetricFamily("risk_queue_depth", "Decisions that wait for the engine", value=counters.queue_depth)
        yield GaugeMetricFamily(
            "risk_feature_events",
            "Events in the feature windows, over the kinds of entity",
            value=self._engine.state.event_count(),
        )
        yield GaugeMetricFamily("risk_feature_bytes", "Bytes of the feature windows", value=self._engine.state.memory_bytes())
        refused = float(self._engine.refused_release is not None)
        yield GaugeMetricFamily(
            "risk_release_refused", "1 where the champion could not be loaded and another program serves", value=refused
        )
        yield CounterMetricFamily(
            "risk_program_swaps", "New programs that took over between two batches", value=self._engine.program_swaps
        )
        program = GaugeMetricFamily("risk_program_info", "The program that is live", labels=["version"])
        program.add_metric([self._engine.program_version], 1)
        yield program


def _totals(counters: EngineCounters) -> Iterator[Metric]:
    decisions = CounterMetricFamily("risk_decisions", "Committed decisions", labels=["outcome"])
    for outcome, count in zip(Outcome, counters.outcomes, strict=True):
        decisions.add_metric([outcome.label], count)
    yield decisions
    yield CounterMetricFamily("risk_replays", "Requests answered with a stored decision", value=counters.replays)
    yield CounterMetricFamily("risk_refused", "Transactions and requests refused before the engine", value=counters.refused)
    yield CounterMetricFamily("risk_errors", "Requests that got an error from the engine", value=counters.errors)
    yield CounterMetricFamily("risk_degraded", "Decisions that are marked as degraded", value=counters.degraded)
    yield CounterMetricFamily("risk_batches", "Batches that the engine ran", value=counters.batches)


def _ladder(counters: LadderCounters) -> Iterator[Metric]:
    batches = CounterMetricFamily(
        "risk_ladder_batches",
        "Batches by what ran them: a static program, or a dynamic variant because it is cheaper (dynamic), there is no "
        "program of that shape yet (miss), a guard failed, or the program was busy",
        labels=["path"],
    )
    paths = {"static": counters.hits, "dynamic": counters.dynamic, "miss": counters.misses}
    for path, count in (paths | {"guard_failure": counters.guard_failures, "busy": counters.busy}).items():
        batches.add_metric([path], count)
    yield batches
    yield CounterMetricFamily(
        "risk_ladder_promotions", "Static programs made because their shape came often", value=counters.promotions
    )
    yield CounterMetricFamily("risk_ladder_recompiles", "Promotions of a shape that had one before", value=counters.recompiles)
    yield CounterMetricFamily("risk_ladder_failed_builds", "Static programs that could not be made", value=counters.failed_builds)
    yield GaugeMetricFamily("risk_ladder_static_programs", "Static programs that are ready", value=counters.static_programs)


def _latency(counters: EngineCounters) -> Metric:
    total, buckets = 0, []
    for bound, count in zip((*(b / 1000 for b in LATENCY_BOUNDS_MS), float("inf")), counters.latency_counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
    histogram = HistogramMetricFamily("risk_request_duration_seconds", "From the request's arrival to its answer")
    histogram.add_metric([], buckets, counters.latency_sum_ms / 1000)
    return histogram
