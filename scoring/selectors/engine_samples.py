"""The rows that each engine process writes once a second, and the rates that they tell."""

from __future__ import annotations

from collections import Counter, defaultdict
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
    batches: int
    outcomes: dict[str, int]
    latency_counts: list[int]
    cpu_seconds: float
    queue_depth: int


def samples_since(start: datetime) -> list[Sample]:
    """Return the samples after `start`, oldest first."""
    rows = EngineSample.objects.filter(at__gt=start).order_by("at").values_list(*Sample._fields)
    return [Sample(*row) for row in rows.iterator(chunk_size=2000)]


def per_second(samples: Sequence[Sample]) -> float:
    """Return decisions per second: the sum of each process's own rate, as their intervals overlap and do not add up."""
    decisions: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for sample in samples:
        decisions[sample.process] += sample.decisions
        seconds[sample.process] += sample.seconds
    return sum(count / seconds[p] for p, count in decisions.items() if seconds[p] > 0)


def mean_per_second(samples: Sequence[Sample]) -> float:
    """Return decisions per second since the first of `samples` (oldest first), so that a short history is not diluted."""
    if not samples:
        return 0.0
    span = (samples[-1].at - samples[0].at).total_seconds() + samples[0].seconds
    return sum(s.decisions for s in samples) / span if span > 0 else 0.0
