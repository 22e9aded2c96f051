"""The Handbook's prequential protocol: which days a fold learns from and is tested on, which cards it leaves out.

Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card Fraud Detection - Practical
Handbook", chapters 4.4 and 5.3. A fold trains on a week, waits a week for the labels and is tested on the week after.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from scoring.learning.metrics import MetricUndefined, auc_roc, average_precision, card_precision_at_k
from tests.benchmarks.accuracy.payments import Payments

TRAIN_DAYS = DELAY_DAYS = TEST_DAYS = 7
CARDS_A_DAY = 100
# As published, and the same days counted from the first day of the published file (2018-04-01).
TEST_DATES = (date(2018, 7, 25), date(2018, 8, 1), date(2018, 8, 8), date(2018, 8, 15))
VALIDATION_DATES = (date(2018, 6, 20), date(2018, 6, 27), date(2018, 7, 4), date(2018, 7, 11))
PUBLISHED_FIRST_DAY = date(2018, 4, 1)


class ProtocolError(Exception):
    """The protocol cannot be run on this file; the message says why."""


@dataclass(frozen=True)
class Fold:
    """One training week and the week that it is tested on; days are counted from the file's first."""

    train_start: int

    @property
    def train_end(self) -> int:
        return self.train_start + TRAIN_DAYS

    @property
    def test_start(self) -> int:
        return self.train_end + DELAY_DAYS

    @property
    def test_end(self) -> int:
        return self.test_start + TEST_DAYS


def folds(payments: Payments, published: tuple[date, ...]) -> list[Fold]:
    """Return the folds with these training starts, or those as far from the file's first day where the dates do not fit.

    Raises:
        ProtocolError: the file has too few days either way.
    """
    first_day = datetime.fromtimestamp(payments.first_midnight_us / 1e6, UTC).date()
    by_date = [Fold((start - first_day).days) for start in published]
    if by_date[0].train_start >= 0 and by_date[-1].test_end <= payments.days:
        return by_date
    by_offset = [Fold((start - PUBLISHED_FIRST_DAY).days) for start in published]
    if by_offset[-1].test_end > payments.days:
        raise ProtocolError(
            f"the file spans {payments.days} days from {first_day}, but the protocol's last test week "
            f"ends after day {by_offset[-1].test_end}: give a file of at least that many days"
        )
    return by_offset


def rows_of_test_week(payments: Payments, fold: Fold) -> np.ndarray:
    """Return the row numbers of the test week, without the cards that are already known as compromised.

    Known on a test day are the cards with fraud in the training week, and those with fraud up to the day before the
    delay began to count: day (test day - DELAY_DAYS - 1).

    Raises:
        ProtocolError: nothing is left.
    """
    known = set(_defrauded(payments, fold.train_start, fold.train_end))
    kept = []
    for day in range(fold.test_start, fold.test_end):
        known.update(_defrauded(payments, day - DELAY_DAYS - 1, day - DELAY_DAYS))
        rows = payments.rows_of_days(day, day + 1)
        compromised = np.isin(payments.card[rows], np.fromiter(known, np.int32, len(known)))
        kept.append(np.arange(rows.start, rows.stop)[~compromised])
    rows = np.concatenate(kept)
    if not len(rows):
        raise ProtocolError(f"all cards of the test week from day {fold.test_start} are known as compromised: nothing to judge")
    return rows


def _defrauded(payments: Payments, first: int, end: int) -> list[int]:
    rows = payments.rows_of_days(first, end)
    return np.unique(payments.card[rows][payments.fraud[rows] == 1]).tolist()


@dataclass(frozen=True)
class Figures:
    """What one fold scored: area under the ROC curve, average precision, Card Precision@100."""

    auc: float
    ap: float
    cp100: float


def figures(payments: Payments, rows: np.ndarray, scores: np.ndarray) -> Figures:
    """Return the figures of scores [n] for the rows [n] of a test week.

    Raises:
        ProtocolError: the week has no fraud, or nothing but fraud.
    """
    fraud = payments.fraud[rows]
    try:
        return Figures(
            auc=auc_roc(fraud, scores),
            ap=average_precision(fraud, scores),
            cp100=card_precision_at_k(fraud, scores, payments.card[rows], payments.day[rows], k=CARDS_A_DAY),
        )
    except MetricUndefined as error:
        raise ProtocolError(f"a test week cannot be judged: {error}") from None


def mean_of(all_figures: list[Figures]) -> Figures:
    """Return the mean of each figure over the folds."""
    return Figures(*(float(np.mean([getattr(f, name) for f in all_figures])) for name in ("auc", "ap", "cp100")))


def deviation_of(all_figures: list[Figures]) -> Figures:
    """Return the standard deviation (population) of each figure over the folds."""
    return Figures(*(float(np.std([getattr(f, name) for f in all_figures])) for name in ("auc", "ap", "cp100")))
