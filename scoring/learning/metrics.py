"""How good a ranking or a probability is: exact figures, and intervals by a stratified bootstrap.

Shapes: every argument named `labels` is [N] of 0 and 1 (or bool), `scores` and `probabilities` are [N] floats without
NaN, larger meaning more suspicious. `weights` [N] are non-negative counts of each row; the bootstrap passes how often it
drew it, so that nothing is copied. Rows of equal score are one threshold: their order never changes a figure.

All of them raise MetricUndefined where the figure has no value, such as recall without a fraud.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

Metric = Callable[..., float]


class MetricUndefined(ValueError):
    """These rows do not determine the figure; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure of the sample and the percentile interval of its bootstrap resamples."""

    estimate: float
    low: float
    high: float


def average_precision(labels, scores, weights=None) -> float:
    """Return the area under the precision-recall steps, without interpolation."""
    curve = _threshold_curve(labels, scores, weights)
    curve.require(frauds=True)
    flagged = curve.frauds + curve.goods
    precision_at = np.divide(curve.frauds, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    recall_steps = np.diff(curve.frauds, prepend=0.0) / curve.frauds[-1]
    return float(recall_steps @ precision_at)


def auc_roc(labels, scores, weights=None) -> float:
    """Return the chance that a random fraud scores above a random good row, ties counting one half."""
    curve = _threshold_curve(labels, scores, weights)
    curve.require(frauds=True, goods=True)
    true_positive_rate = np.concatenate(([0.0], curve.frauds / curve.frauds[-1]))
    false_positive_rate = np.concatenate(([0.0], curve.goods / curve.goods[-1]))
    return float(np.trapezoid(true_positive_rate, false_positive_rate))


def recall_at_fpr(labels, scores, weights=None, *, max_fpr: float = 0.01) -> float:
    """Return the largest share of frauds caught by a threshold that flags at most `max_fpr` of the good rows."""
    curve = _threshold_curve(labels, scores, weights)
    curve.require(frauds=True, goods=True)
    # The slack forgives rounding only: 0.29 * 100 is a little below 29.
    allowed = curve.goods <= max_fpr * curve.goods[-1] * (1 + 1e-12)
    return float(curve.frauds[allowed].max(initial=0.0) / curve.frauds[-1])


def precision(labels, flagged, weights=None) -> float:
    """Return the share of frauds among the rows where `flagged` [N] is 1."""
    labels, flagged, weights = _checked(labels, flagged, weights)
    alarms = weights[flagged > 0].sum()
    if alarms == 0:
        raise MetricUndefined("precision needs at least one flagged row")
    return float(weights[(flagged > 0) & (labels > 0)].sum() / alarms)


def recall(labels, flagged, weights=None) -> float:
    """Return the share of the frauds for which `flagged` [N] is 1."""
    labels, flagged, weights = _checked(labels, flagged, weights)
    frauds = weights[labels > 0].sum()
    if frauds == 0:
        raise MetricUndefined("recall needs at least one fraud")
    return float(weights[(flagged > 0) & (labels > 0)].sum() / frauds)


def brier(labels, probabilities, weights=None) -> float:
    """Return the mean squared error of the probabilities; 0 is perfect."""
    labels, probabilities, weights = _checked(labels, probabilities, weights)
    if weights.sum() == 0:
        raise MetricUndefined("the Brier score needs at least one row")
    return float(weights @ (probabilities - labels) ** 2 / weights.sum())


def card_precision_at_k(labels, scores, cards, days, *, k: int = 100) -> float:
    """Return Card Precision@k as the Fraud Detection Handbook defines it.

    Each day the cards are ranked by their highest score; the figure of a day is the share of compromised cards among the
    first `k` (over `k`, also where fewer cards were active). A card that was caught is left out on later days.

    Args:
        cards: [N] card identifiers, any sortable type.
        days: [N] day numbers; the days that occur are averaged.
    """
    labels, scores, _ = _checked(labels, scores, None)
    cards, days = np.unique(np.asarray(cards), return_inverse=True)[1], np.asarray(days)
    if not len(labels) == len(cards) == len(days) or not len(labels):
        raise MetricUndefined("Card Precision@k needs as many cards and days as scores, and at least one row")
    caught = np.zeros(cards.max() + 1, bool)
    precision_of_day = []
    for day in np.unique(days):
        rows = (days == day) & ~caught[cards]
        found = _compromised_among_first(labels[rows], scores[rows], cards[rows], k)
        caught[found] = True
        precision_of_day.append(len(found) / k)
    return float(np.mean(precision_of_day))


def bootstrap_interval(
    metric: Metric, labels, scores, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return `metric(labels, scores)` with its percentile interval over `resamples` stratified resamples.

    `metric` is any function of this module that takes (labels, scores, weights).
    """
    labels, scores, _ = _checked(labels, scores, None)
    in_order = _sorted_once(metric, labels, scores)
    return _bootstrap(in_order, labels, resamples, confidence, seed)


def paired_bootstrap_difference(
    metric: Metric,
    labels,
    challenger_scores,
    champion_scores,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return metric(challenger) - metric(champion); both are measured on the same resample each time.

    Sharing the resample removes what is common to both, so the interval is far narrower than that of two single ones.
    """
    labels, challenger_scores, _ = _checked(labels, challenger_scores, None)
    _, champion_scores, _ = _checked(labels, champion_scores, None)
    challenger = _sorted_once(metric, labels, challenger_scores)
    champion = _sorted_once(metric, labels, champion_scores)
    return _bootstrap(lambda counts: challenger(counts) - champion(counts), labels, resamples, confidence, seed)


@dataclass(frozen=True, slots=True)
class _ThresholdCurve:
    """Weighted frauds and good rows at or above each distinct score, strictest threshold first; [T] each."""

    frauds: np.ndarray
    goods: np.ndarray

    def require(self, *, frauds: bool = False, goods: bool = False) -> None:
        if frauds and not (self.frauds.size and self.frauds[-1] > 0):
            raise MetricUndefined("this figure needs at least one fraud")
        if goods and not (self.goods.size and self.goods[-1] > 0):
            raise MetricUndefined("this figure needs at least one good row")


def _threshold_curve(labels, scores, weights) -> _ThresholdCurve:
    labels, scores, weights = _checked(labels, scores, weights)
    # A stable sort of rows that are in order already takes linear time, which the bootstrap relies on.
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else order
    weights, labels = weights[order], labels[order]
    return _ThresholdCurve(np.cumsum(weights * labels)[last_of_tie], np.cumsum(weights * (1 - labels))[last_of_tie])


def _checked(labels, scores, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    weights = np.ones_like(labels) if weights is None else np.asarray(weights, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape or labels.shape != weights.shape:
        raise ValueError(f"expected three arrays [N], got {labels.shape}, {scores.shape}, {weights.shape}")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN: a row without a score cannot be ranked")
    if not np.isin(labels, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1")
    return labels, scores, weights


def _compromised_among_first(labels, scores, cards, k: int) -> np.ndarray:
    """Return the cards with a fraud among the `k` cards with the highest scores; ties go to the smaller card."""
    active, place = np.unique(cards, return_inverse=True)
    highest, compromised = np.full(len(active), -np.inf), np.zeros(len(active), bool)
    np.maximum.at(highest, place, scores)
    np.logical_or.at(compromised, place, labels > 0)
    first = np.argsort(-highest, kind="stable")[:k]
    return active[first][compromised[first]]


def _sorted_once(metric: Metric, labels, scores) -> Callable[[np.ndarray], float]:
    """Return counts [N] -> metric, with the rows put in score order beforehand instead of at every resample."""
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    return lambda counts: metric(labels, scores, counts[order])


def _stratified_counts(labels: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each row is drawn; frauds and good rows are drawn apart, so both classes are always there."""
    generator = np.random.default_rng(seed)
    strata = [rows for rows in (np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)) if len(rows)]
    for _ in range(resamples):
        counts = np.zeros(len(labels))
        for rows in strata:
            counts[rows] = np.bincount(generator.integers(0, len(rows), len(rows)), minlength=len(rows))
        yield counts


def _bootstrap(figure: Callable[[np.ndarray], float], labels, resamples: int, confidence: float, seed: int) -> Interval:
    estimate = figure(np.ones(len(labels)))
    draws = []
    for counts in _stratified_counts(labels, resamples, seed):
        # Precision has no value where a resample happened to draw no flagged row; the others carry the interval.
        with suppress(MetricUndefined):
            draws.append(figure(counts))
    if len(draws) < resamples / 2:
        raise MetricUndefined(f"only {len(draws)} of {resamples} resamples determine this figure: too few rows")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(float(estimate), float(low), float(high))
