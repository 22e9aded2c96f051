"""How well a ranking finds the frauds, with an interval that is cheap enough for a page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scoring.learning.metrics import average_precision
from scoring.selectors.intervals import Interval

_RESAMPLES = 200


def average_precision_interval(is_fraud: NDArray[np.bool_], scores: NDArray[np.float64], *, seed: int = 0) -> Interval | None:
    """Return AP with its 95 % percentile interval over Poisson resamples of the rows; None without a fraud.

    Each row is drawn Poisson(1) times, so k equal rows are drawn Poisson(k) times together. AP sees rows only through
    the numbers of frauds and of good rows at each score, and good rows between the same two frauds are the same to it:
    the rows are counted first, and a resample costs as much as there are frauds, not rows.

    Args:
        is_fraud: [N] bool.
        scores: [N], higher is more suspicious, without NaN; equal scores share one threshold.
    """
    if not is_fraud.any():
        return None
    frauds, goods = _counts_by_score(is_fraud, scores)
    labels = np.r_[np.ones(frauds.size), np.zeros(goods.size)]
    ranks = np.tile(-np.arange(frauds.size, dtype=np.float64), 2)
    counts = np.r_[frauds, goods]
    rng = np.random.default_rng(seed)
    draws = [rng.poisson(counts) for _ in range(_RESAMPLES)]
    values = [average_precision(labels, ranks, draw) for draw in draws if draw[: frauds.size].any()]
    low, high = np.quantile(values, [0.025, 0.975]) if values else (0.0, 1.0)
    return Interval(average_precision(labels, ranks, counts), float(low), float(high))


def _counts_by_score(is_fraud: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return frauds and good rows per distinct score, highest first, neighbours without frauds merged."""
    order = np.argsort(-scores, kind="stable")
    score, fraud = scores[order], is_fraud[order].astype(np.int64)
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    frauds = np.add.reduceat(fraud, starts)
    goods = np.diff(np.r_[starts, score.size]) - frauds
    is_empty = frauds == 0
    keep = np.flatnonzero(~(is_empty & np.r_[False, is_empty[:-1]]))
    return np.add.reduceat(frauds, keep), np.add.reduceat(goods, keep)
