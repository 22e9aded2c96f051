"""Percentiles from the latency histograms of engine samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scoring.telemetry import LATENCY_BOUNDS_MS


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in milliseconds over `count` answers; None where nothing was answered."""

    count: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


def summed_counts(histograms: Iterable[Sequence[int]]) -> list[int]:
    """Add histograms bucket by bucket; an empty one counts as zeros.

    Raises:
        ValueError: a histogram has another number of buckets than LATENCY_BOUNDS_MS gives.
    """
    buckets = len(LATENCY_BOUNDS_MS) + 1
    total = [0] * buckets
    for counts in histograms:
        if not counts:
            continue
        if len(counts) != buckets:
            raise ValueError(f"expected {buckets} latency buckets; got {len(counts)}")
        for index, count in enumerate(counts):
            total[index] += count
    return total


def percentile_ms(counts: Sequence[int], share: float) -> float | None:
    """Return the latency below which `share` of the answers lie, linear within the bucket.

    An answer above the last bound is reported as that bound, because nothing more is known about it.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank = share * total
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            return _inside_bucket(index, (rank - below) / count)
        below += count
    return LATENCY_BOUNDS_MS[-1]


def _inside_bucket(index: int, fraction: float) -> float:
    if index >= len(LATENCY_BOUNDS_MS):
        return LATENCY_BOUNDS_MS[-1]
    low = LATENCY_BOUNDS_MS[index - 1] if index else 0.0
    return low + fraction * (LATENCY_BOUNDS_MS[index] - low)


def latency_of(counts: Sequence[int]) -> Latency:
    """Summarise one histogram."""
    return Latency(
        sum(counts),
        percentile_ms(counts, 0.50),
        percentile_ms(counts, 0.95),
        percentile_ms(counts, 0.99),
    )
