"""The live page's charts: engine samples in steps of a few seconds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from scoring.selectors.engine_samples import Sample, decisions_between
from scoring.selectors.latency import latency_of, summed_counts

WINDOW = timedelta(minutes=15)
STEP_SECONDS = 5
# A sample is written up to a second after its second ended; a step is shown when all of it must have arrived.
LAG_SECONDS = 2


@dataclass(frozen=True, slots=True)
class LiveSeries:
    """One point every STEP_SECONDS, at the end of its step (Unix seconds).

    An idle second leaves no sample, so `per_second` is 0 where none is found, and None before the window's first one.
    Latencies are None where nothing was answered.
    """

    at: list[int]
    per_second: list[float | None]
    p50_ms: list[float | None]
    p95_ms: list[float | None]
    p99_ms: list[float | None]


def series_of(samples: list[Sample], now: datetime) -> LiveSeries:
    """Group samples (oldest first) into whole steps; the step that still runs would show a dip, and is left out."""
    last = int(now.timestamp() - LAG_SECONDS) // STEP_SECONDS * STEP_SECONDS
    steps = int(WINDOW.total_seconds()) // STEP_SECONDS
    ends = [last - STEP_SECONDS * back for back in range(steps - 1, -1, -1)]
    groups = _by_step(samples)
    latencies = [latency_of(summed_counts(s.latency_counts for s in groups.get(end, []))) for end in ends]
    return LiveSeries(
        at=ends,
        per_second=_rates(samples, groups, ends),
        p50_ms=[latency.p50_ms for latency in latencies],
        p95_ms=[latency.p95_ms for latency in latencies],
        p99_ms=[latency.p99_ms for latency in latencies],
    )


def _by_step(samples: list[Sample]) -> dict[int, list[Sample]]:
    groups: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[ceil(sample.at.timestamp() / STEP_SECONDS) * STEP_SECONDS].append(sample)
    return groups


def _rates(samples: list[Sample], groups: dict[int, list[Sample]], ends: list[int]) -> list[float | None]:
    if not samples:
        return [None] * len(ends)
    first = samples[0].at.timestamp() - samples[0].seconds
    rates: list[float | None] = []
    for end in ends:
        # A sample may reach into the step before the one that it ended in.
        near = groups.get(end, []) + groups.get(end + STEP_SECONDS, [])
        rates.append(decisions_between(near, end - STEP_SECONDS, end) / STEP_SECONDS if end > first else None)
    return rates
