"""The live page's charts: engine samples in steps of a few seconds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from scoring.selectors.engine_samples import Sample, per_second
from scoring.selectors.latency import latency_of, summed_counts

WINDOW = timedelta(minutes=15)
STEP_SECONDS = 5


@dataclass(frozen=True, slots=True)
class LiveSeries:
    """One point every STEP_SECONDS, at the end of its step (Unix seconds); None where no process reported."""

    at: list[int]
    per_second: list[float | None]
    p50_ms: list[float | None]
    p95_ms: list[float | None]
    p99_ms: list[float | None]


def series_of(samples: list[Sample], now: datetime) -> LiveSeries:
    """Group samples into whole steps; the step that still runs is left out, since it would show a dip."""
    end = int(now.timestamp()) // STEP_SECONDS * STEP_SECONDS
    steps = int(WINDOW.total_seconds()) // STEP_SECONDS
    ends = [end - STEP_SECONDS * back for back in range(steps - 1, -1, -1)]
    by_end: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_end[-(-sample.at.timestamp() // STEP_SECONDS) * STEP_SECONDS].append(sample)
    groups = [by_end.get(at, []) for at in ends]
    latencies = [latency_of(summed_counts(s.latency_counts for s in group)) for group in groups]
    return LiveSeries(
        at=ends,
        per_second=[per_second(group) if group else None for group in groups],
        p50_ms=[latency.p50_ms for latency in latencies],
        p95_ms=[latency.p95_ms for latency in latencies],
        p99_ms=[latency.p99_ms for latency in latencies],
    )
