"""What the engine processes did in the last minutes, from the samples that they write once a second."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from scoring.models import EngineSample, Outcome
from scoring.selectors.latency import Latency, latency_of, summed_counts

WINDOW = timedelta(minutes=15)
NOW_SECONDS = 10
STEP_SECONDS = 5
# A process writes each second; after this long without a row it is taken for gone.
SILENT_AFTER_SECONDS = 5
_CACHE_SECONDS = 1


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


@dataclass(frozen=True, slots=True)
class OutcomeShare:
    """How many of the window's decisions had one outcome."""

    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """Sums over WINDOW and, where the name says so, over the last NOW_SECONDS, of all engine processes.

    `cost_per_million` is processor time x CORE_HOUR_PRICE per million decisions in COST_CURRENCY, idle time
    included; None where nothing was decided.
    """

    at: datetime
    newest_sample_at: datetime | None
    is_silent: bool
    processes: int
    decisions: int
    replays: int
    refused: int
    errors: int
    degraded: int
    batches: int
    queue_depth: int
    per_second_now: float
    per_second_mean: float
    per_second_peak: float
    latency_now: Latency
    latency: Latency
    outcomes: tuple[OutcomeShare, ...]
    cpu_seconds: float
    cost_per_million: float | None
    cost_currency: str

    @property
    def degraded_share(self) -> float | None:
        return self.degraded / self.decisions if self.decisions else None

    @property
    def per_batch(self) -> float | None:
        return self.decisions / self.batches if self.batches else None


@dataclass(frozen=True, slots=True)
class LiveSeries:
    """One point every STEP_SECONDS, at the end of its step (Unix seconds); None where no process reported."""

    at: list[int]
    per_second: list[float | None]
    p50_ms: list[float | None]
    p95_ms: list[float | None]
    p99_ms: list[float | None]
    degraded_share: list[float | None]


def live_figures() -> LiveFigures:
    """Return the live page's figures, at most a second old."""
    return _live()[0]


def live_series() -> LiveSeries:
    """Return the live page's charts, at most a second old."""
    return _live()[1]


def _live() -> tuple[LiveFigures, LiveSeries]:
    # One read serves the figures and the charts of every open page.
    found = cache.get("scoring.live")
    if found is None:
        now = timezone.now()
        samples = _samples_since(now - WINDOW)
        series = series_of(samples, now)
        found = (figures_of(samples, series, now), series)
        cache.set("scoring.live", found, _CACHE_SECONDS)
    return found


def _samples_since(start: datetime) -> list[Sample]:
    rows = EngineSample.objects.filter(at__gt=start).order_by("at").values_list(*Sample._fields)
    return [Sample(*row) for row in rows.iterator(chunk_size=2000)]


def figures_of(samples: list[Sample], series: LiveSeries, now: datetime) -> LiveFigures:
    """Sum up samples that lie in the window before `now`, oldest first, and their `series`."""
    newest_at = samples[-1].at if samples else None
    is_silent = newest_at is None or now - newest_at > timedelta(seconds=SILENT_AFTER_SECONDS)
    recent = [s for s in samples if s.at > now - timedelta(seconds=NOW_SECONDS)]
    decisions = sum(s.decisions for s in samples)
    cpu_seconds = sum(s.cpu_seconds for s in samples)
    return LiveFigures(
        at=now,
        newest_sample_at=newest_at,
        is_silent=is_silent,
        processes=len({s.process for s in recent}),
        decisions=decisions,
        replays=sum(s.replays for s in samples),
        refused=sum(s.refused for s in samples),
        errors=sum(s.errors for s in samples),
        degraded=sum(s.degraded for s in samples),
        batches=sum(s.batches for s in samples),
        queue_depth=_newest_queue_depth(recent),
        per_second_now=_per_second(recent),
        per_second_mean=_mean_per_second(samples),
        per_second_peak=max((rate for rate in series.per_second if rate), default=0.0),
        latency_now=latency_of(summed_counts(s.latency_counts for s in recent)),
        latency=latency_of(summed_counts(s.latency_counts for s in samples)),
        outcomes=_outcome_shares(samples),
        cpu_seconds=cpu_seconds,
        cost_per_million=_cost_per_million(cpu_seconds, decisions),
        cost_currency=settings.COST_CURRENCY,
    )


def _per_second(samples: list[Sample]) -> float:
    """Add up each process's own rate: their intervals overlap, so their seconds do not add."""
    decisions: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for sample in samples:
        decisions[sample.process] += sample.decisions
        seconds[sample.process] += sample.seconds
    return sum(count / seconds[p] for p, count in decisions.items() if seconds[p] > 0)


def _mean_per_second(samples: list[Sample]) -> float:
    """Divide by the time from the first sample on, so that a window that has just begun is not diluted."""
    if not samples:
        return 0.0
    span = (samples[-1].at - samples[0].at).total_seconds() + samples[0].seconds
    return sum(s.decisions for s in samples) / span if span > 0 else 0.0


def _newest_queue_depth(samples: list[Sample]) -> int:
    return sum({s.process: s.queue_depth for s in samples}.values())


def _outcome_shares(samples: list[Sample]) -> tuple[OutcomeShare, ...]:
    counts: Counter[str] = Counter()
    for sample in samples:
        counts.update(sample.outcomes)
    total = sum(counts.values())
    return tuple(
        OutcomeShare(o.label, counts[o.label], counts[o.label] / total if total else 0.0)
        for o in Outcome
    )


def _cost_per_million(cpu_seconds: float, decisions: int) -> float | None:
    if not decisions:
        return None
    return cpu_seconds / 3600 * settings.CORE_HOUR_PRICE / decisions * 1_000_000


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
        per_second=[_per_second(group) if group else None for group in groups],
        p50_ms=[latency.p50_ms for latency in latencies],
        p95_ms=[latency.p95_ms for latency in latencies],
        p99_ms=[latency.p99_ms for latency in latencies],
        degraded_share=[_degraded_share(group) for group in groups],
    )


def _degraded_share(group: list[Sample]) -> float | None:
    decisions = sum(s.decisions for s in group)
    return sum(s.degraded for s in group) / decisions if decisions else None
