"""The rows that each engine process writes for every second in which it was asked something."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from scoring.models import EngineSample


class Sample(NamedTuple):
    """The columns of one EngineSample row."""

    at: datetime
    process: str
    seconds: float
    decisions: int
    replays: int
    refused: int
    errors: int
    degraded: int
    outcomes: dict[str, int]
    latency_counts: list[int]
    cpu_seconds: float
    queue_depth: int


def samples_since(start: datetime) -> list[Sample]:
    """Return the samples after `start`, oldest first."""
    rows = EngineSample.objects.filter(at__gt=start).order_by("at").values_list(*Sample._fields)
    return [Sample(*row) for row in rows.iterator(chunk_size=2000)]


def decisions_between(samples: Sequence[Sample], start: float, end: float) -> float:
    """Return the decisions in (start, end], Unix seconds; a sample across an edge counts by its share inside."""
    return sum(sample.decisions * _share_inside(sample, start, end) for sample in samples)


def _share_inside(sample: Sample, start: float, end: float) -> float:
    until = sample.at.timestamp()
    since = until - sample.seconds
    if sample.seconds <= 0:
        return float(start < until <= end)
    return max(0.0, min(until, end) - max(since, start)) / sample.seconds
