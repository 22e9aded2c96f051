"""How right the decisions were, as far as their truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from time import monotonic

import numpy as np
from django.core.cache import cache
from numpy.typing import NDArray

from scoring.learning.metrics import average_precision
from scoring.models import Outcome
from scoring.selectors.intervals import Interval, Proportion, proportion
from scoring.selectors.matured import MaturedDecisions, matured_decisions
from scoring.selectors.ranking import average_precision_interval
from scoring.selectors.savings import Savings, savings_of

CACHE_SECONDS = 10
# However many decisions there are, looking at them takes at most one part in so many of a core.
_REST_FACTOR = 20
_CACHE_KEY = "scoring.accuracy"
_working = Lock()
FLAGGED_FROM = Outcome.REVIEW
MAX_SLICES = 48
# Below this many frauds a slice's figures are noise, and are not drawn.
MIN_SLICE_FRAUDS = 5
_HOUR = 3600
_WIDTHS = tuple(h * _HOUR for h in (1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 720, 2160, 8760))


@dataclass(frozen=True, slots=True)
class Slice:
    """One stretch of event time; figures are None where it holds too few frauds to say."""

    start: datetime
    decisions: int
    frauds: int
    flagged: int
    caught: int
    precision: float | None
    recall: float | None
    average_precision: float | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Figures over the matured decisions that occurred in [since, until].

    precision: share of frauds among the flagged (review or stricter); recall: share of flagged among the frauds;
    false_positive_rate: share of flagged among the good; fraud_rate: share of frauds among all. Left out are
    `unsettled` disputes and what was decided `without_model`.
    """

    clock: datetime
    since: datetime
    until: datetime
    is_truncated: bool
    decisions: int
    unsettled: int
    without_model: int
    precision: Proportion
    recall: Proportion
    false_positive_rate: Proportion
    fraud_rate: Proportion
    average_precision: Interval | None
    slice_seconds: int
    slices: tuple[Slice, ...]
    savings: tuple[Savings, ...]


def accuracy() -> Accuracy | None:
    """Return the figures, some CACHE_SECONDS old at most; None while no decision of a model has matured."""
    found = cache.get(_CACHE_KEY)
    if found is None:
        # The parts of a page ask at the same moment; one works it out and the others take the result.
        with _working:
            found = cache.get(_CACHE_KEY) or _measure()
    return found[0]


def _measure() -> tuple[Accuracy | None]:
    started = monotonic()
    matured = matured_decisions()
    # Wrapped, so that "none yet" is cached as well.
    found = (accuracy_of(matured) if matured else None,)
    rest = _REST_FACTOR * (monotonic() - started)
    cache.set(_CACHE_KEY, found, max(CACHE_SECONDS, rest))
    return found


def accuracy_of(matured: MaturedDecisions) -> Accuracy:
    """Measure the given decisions."""
    flagged = matured.outcome >= FLAGGED_FROM
    fraud = matured.is_fraud
    caught, frauds = int((flagged & fraud).sum()), int(fraud.sum())
    width = _slice_width(matured)
    return Accuracy(
        clock=matured.clock,
        since=matured.since,
        until=matured.until,
        is_truncated=matured.is_truncated,
        decisions=fraud.size,
        unsettled=matured.unsettled,
        without_model=matured.without_model,
        precision=proportion(caught, int(flagged.sum())),
        recall=proportion(caught, frauds),
        false_positive_rate=proportion(int((flagged & ~fraud).sum()), fraud.size - frauds),
        fraud_rate=proportion(frauds, fraud.size),
        average_precision=average_precision_interval(fraud, matured.rank),
        slice_seconds=width,
        slices=_slices(matured, flagged, width),
        savings=savings_of(matured),
    )


def _slice_width(matured: MaturedDecisions) -> int:
    """Return the narrowest width that gives few enough slices, with enough frauds in one on average."""
    span = matured.until.timestamp() - matured.since.timestamp()
    most = min(MAX_SLICES - 1, matured.is_fraud.sum() / (2 * MIN_SLICE_FRAUDS))
    return next((w for w in _WIDTHS if span / w <= most), _WIDTHS[-1])


def _slices(matured: MaturedDecisions, flagged: NDArray[np.bool_], width: int) -> tuple[Slice, ...]:
    number = (matured.occurred_at // width).astype(np.int64)
    return tuple(_slice(matured, flagged, number == n, int(n) * width) for n in np.unique(number))


def _slice(matured: MaturedDecisions, flagged, rows: NDArray[np.bool_], start: int) -> Slice:
    fraud, flagged = matured.is_fraud[rows], flagged[rows]
    frauds, alarms, caught = int(fraud.sum()), int(flagged.sum()), int((fraud & flagged).sum())
    is_told = frauds >= MIN_SLICE_FRAUDS
    return Slice(
        start=datetime.fromtimestamp(start, UTC),
        decisions=int(rows.sum()),
        frauds=frauds,
        flagged=alarms,
        caught=caught,
        precision=caught / alarms if is_told and alarms else None,
        recall=caught / frauds if is_told else None,
        average_precision=average_precision(fraud, matured.rank[rows]) if is_told else None,
    )
