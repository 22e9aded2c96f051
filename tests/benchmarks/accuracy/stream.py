"""The file in event order through `score_batch`, one day or less at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scoring.decisions.score_batch import score_batch
from scoring.engine import RiskProgram
from scoring.features.schema import DAY_US, current_schema
from scoring.features.state import FeatureState
from tests.benchmarks.accuracy.delivery import LabelDelivery
from tests.benchmarks.accuracy.payments import Payments

BATCH_ROWS = 10_000


class PaymentStream:
    """Streams payments from the first on, and keeps some feature columns of each.

    Attributes:
        state: the windows, as the engine holds them.
        x: [N, C] float32, the kept columns; rows that have not been streamed are NaN.
        known: [N] int8 labels delivered so far, see LabelDelivery.
    """

    def __init__(self, payments: Payments, kept_columns: tuple[str, ...], batch_rows: int = BATCH_ROWS) -> None:
        self.state = FeatureState(max_lateness_days=0)
        self.x = np.full((len(payments), len(kept_columns)), np.nan, np.float32)
        self.margin = np.full(len(payments), np.nan, np.float32)
        self._payments = payments
        self._kept = [current_schema().index(name) for name in kept_columns]
        self._labels = LabelDelivery(payments)
        self._batch_rows = batch_rows
        self._day = 0

    @property
    def known(self) -> np.ndarray:
        return self._labels.known

    def advance(self, program: RiskProgram, end_day: int) -> None:
        """Score everything up to the midnight that begins `end_day` with this program, and keep rows and margins."""
        for day in range(self._day, end_day):
            for rows in _cut(self._payments.rows_of_days(day, day + 1), self._batch_rows):
                # A label that falls due in the middle of the batch may be told at its start: it belongs to a payment
                # made at or after (first payment of the batch - delay), and every risk window of an earlier payment of
                # this batch ends before that. test_accuracy_protocol.py holds batches against single payments.
                self._labels.deliver(int(self._payments.occurred_us[rows.stop - 1]), self.state)
                scored = score_batch(self.state, program, self._payments.columns(rows))
                self.x[rows] = scored.rows.x[:, self._kept]
                self.margin[rows] = scored.result.margin
            self._labels.deliver(self._payments.first_midnight_us + (day + 1) * DAY_US - 1, self.state)
        self._day = max(self._day, end_day)


def _cut(rows: slice, size: int) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, size):
        yield slice(start, min(start + size, rows.stop))
