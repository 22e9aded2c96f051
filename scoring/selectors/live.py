"""What the engine processes did in the last minutes, from the samples that they write once a second."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from scoring.models import Outcome
from scoring.selectors.engine_samples import Sample, decisions_between, samples_since
from scoring.selectors.latency import Latency, latency_of, summed_counts
from scoring.selectors.live_series import LAG_SECONDS, WINDOW, LiveSeries, series_of

NOW_SECONDS = 10
# A busy process writes each second; after this long without a row nobody is asking for decisions.
IDLE_AFTER_SECONDS = 5
_CACHE_SECONDS = 1


@dataclass(frozen=True, slots=True)
class OutcomeShare:
    """How many of the window's decisions had one outcome."""

    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """Sums over WINDOW and, where the name says so, over the last NOW_SECONDS, of all engine processes.

    `cost_per_million` is the processor time of the busy seconds x CORE_HOUR_PRICE per million decisions, in
    COST_CURRENCY; None where nothing was decided.
    """

    at: datetime
    newest_sample_at: datetime | None
    is_idle: bool
    processes: int
    decisions: int
    replays: int
    refused: int
    errors: int
    degraded: int
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
        samples = samples_since(now - WINDOW)
        series = series_of(samples, now)
        found = (figures_of(samples, series, now), series)
        cache.set("scoring.live", found, _CACHE_SECONDS)
    return found


def figures_of(samples: list[Sample], series: LiveSeries, now: datetime) -> LiveFigures:
    """Sum up samples that lie in the window before `now`, oldest first, and their `series`."""
    newest_at = samples[-1].at if samples else None
    is_idle = newest_at is None or now - newest_at > timedelta(seconds=IDLE_AFTER_SECONDS)
    recent = [s for s in samples if s.at > now - timedelta(seconds=NOW_SECONDS)]
    decisions = sum(s.decisions for s in samples)
    cpu_seconds = sum(s.cpu_seconds for s in samples)
    return LiveFigures(
        at=now,
        newest_sample_at=newest_at,
        is_idle=is_idle,
        processes=len({s.process for s in recent}),
        decisions=decisions,
        replays=sum(s.replays for s in samples),
        refused=sum(s.refused for s in samples),
        errors=sum(s.errors for s in samples),
        degraded=sum(s.degraded for s in samples),
        queue_depth=_newest_queue_depth(recent),
        per_second_now=_per_second_now(samples, now),
        per_second_mean=_mean_per_second(samples, now),
        per_second_peak=max((rate for rate in series.per_second if rate), default=0.0),
        latency_now=latency_of(summed_counts(s.latency_counts for s in recent)),
        latency=latency_of(summed_counts(s.latency_counts for s in samples)),
        outcomes=_outcome_shares(samples),
        cpu_seconds=cpu_seconds,
        cost_per_million=_cost_per_million(cpu_seconds, decisions),
        cost_currency=settings.COST_CURRENCY,
    )


def _per_second_now(samples: list[Sample], now: datetime) -> float:
    end = now.timestamp() - LAG_SECONDS
    # Where the newest sample has arrived already, up to it.
    if samples and now - samples[-1].at < timedelta(seconds=LAG_SECONDS):
        end = samples[-1].at.timestamp()
    return decisions_between(samples, end - NOW_SECONDS, end) / NOW_SECONDS


def _mean_per_second(samples: list[Sample], now: datetime) -> float:
    """Divide by the time since the first sample, so that a window that has just begun is not diluted."""
    if not samples:
        return 0.0
    span = (now - samples[0].at).total_seconds() + samples[0].seconds
    return sum(s.decisions for s in samples) / span if span > 0 else 0.0


def _newest_queue_depth(samples: list[Sample]) -> int:
    return sum({s.process: s.queue_depth for s in samples}.values())


def _outcome_shares(samples: list[Sample]) -> tuple[OutcomeShare, ...]:
    counts: Counter[str] = Counter()
    for sample in samples:
        counts.update(sample.outcomes)
    total = sum(counts.values())
    return tuple(OutcomeShare(o.label, counts[o.label], counts[o.label] / total if total else 0.0) for o in Outcome)


def _cost_per_million(cpu_seconds: float, decisions: int) -> float | None:
    if not decisions:
        return None
    return cpu_seconds / 3600 * settings.CORE_HOUR_PRICE / decisions * 1_000_000
