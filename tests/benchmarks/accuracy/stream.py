"""The file in event order through `score_batch`, one day or less at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scoring.decisions.score_batch import score_batch
from scoring.engine import Calibration, RiskProgram, default_policy
from scoring.features.schema import DAY_US, current_schema
from scoring.features.state import FeatureState
from tests.benchmarks.accuracy.delivery import LabelDelivery
from tests.benchmarks.accuracy.payments import Payments

BATCH_ROWS = 10_000


class PaymentStream:
    """Streams the payments before `end_day` from the first on, and keeps some feature columns of each.

    Attributes:
        state: the windows, as the engine holds them.
        x: [M, C] float32, the kept columns of the M payments before `end_day`; valid once streamed.
        margin: [M] float32, what the program of the day said; NaN where there was no model yet.
    """

    def __init__(self, payments: Payments, kept_columns: tuple[str, ...], end_day: int, batch_rows: int = BATCH_ROWS) -> None:
        rows = payments.rows_of_days(0, end_day).stop
        self.state = FeatureState(max_lateness_days=0)
        self.x = np.empty((rows, len(kept_columns)), np.float32)
        self.margin = np.full(rows, np.nan, np.float32)
        self._payments = payments
        self._kept = [current_schema().index(name) for name in kept_columns]
        self._labels = LabelDelivery(payments)
        self._batch_rows = batch_rows
        self._day = 0

    @property
    def known(self) -> np.ndarray:
        """[N] int8, the labels delivered so far; see LabelDelivery."""
        return self._labels.known

    def advance(self, program: RiskProgram, end_day: int) -> None:
        """Score everything up to the midnight that begins `end_day` with this program, and keep rows and margins."""
        for day in range(self._day, end_day):
            for rows in _cut(self._payments.rows_of_days(day, day + 1), self._batch_rows):
                # Labels that fall due while the batch lasts are told at its start, without a leak: such a label belongs
                # to a payment P with P + delay inside the batch, and the risk windows of the batch's payments before
                # that moment end before P. test_accuracy_protocol.py holds batches against single payments.
                self._labels.deliver(int(self._payments.occurred_us[rows.stop - 1]), self.state)
                scored = score_batch(self.state, program, self._payments.columns(rows, self.state.tokens))
                self.x[rows] = scored.rows.x[:, self._kept]
                self.margin[rows] = scored.scored.margin
            self._labels.deliver(self._payments.first_midnight_us + (day + 1) * DAY_US - 1, self.state)
        self._day = max(self._day, end_day)


def program_without_model() -> RiskProgram:
    """Return the program of the days before there is a model: it computes features and knows no probability."""
    return RiskProgram(current_schema(), (), (), None, Calibration.identity(), default_policy(), "no-model")


def _cut(rows: slice, size: int) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, size):
        yield slice(start, min(start + size, rows.stop))
