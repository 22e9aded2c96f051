"""The payments of a file as arrays, and cuts of them in the form that `score_batch` takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scoring.features.columns import TokenTables, TransactionColumns
from scoring.features.schema import CHANNELS, DAY_US, TYPES


@dataclass(frozen=True)
class Payments:
    """N card payments at terminals, in event order.

    Attributes:
        occurred_us: [N] int64 microseconds since 1970, ascending.
        amount_minor: [N] int64.
        card, terminal: [N] int32 codes from 0. A customer has one card, so the card's code is the customer's too.
        fraud: [N] uint8. The truth: only `delivery.LabelDelivery` and the final figures may read it.
    """

    occurred_us: np.ndarray
    amount_minor: np.ndarray
    card: np.ndarray
    terminal: np.ndarray
    fraud: np.ndarray

    def __len__(self) -> int:
        return len(self.occurred_us)

    @cached_property
    def first_midnight_us(self) -> int:
        """Start of the first payment's day (UTC)."""
        return int(self.occurred_us[0]) // DAY_US * DAY_US

    @cached_property
    def day(self) -> np.ndarray:
        """[N] int32 days since the first payment's."""
        return ((self.occurred_us - self.first_midnight_us) // DAY_US).astype(np.int32)

    @property
    def days(self) -> int:
        """How many days the payments span, the last one included."""
        return int(self.day[-1]) + 1

    def rows_of_days(self, first: int, end: int) -> slice:
        """Return the rows of the days first, ..., end - 1."""
        return slice(*np.searchsorted(self.day, [first, end]).tolist())

    def columns(self, rows: slice, tokens: TokenTables) -> TransactionColumns:
        """Return some rows as a batch to score; the row's number is the event's key."""
        occurred_us, card = self.occurred_us[rows], self.card[rows]
        n = len(occurred_us)
        values = {
            "occurred_at": occurred_us,
            "amount_minor": self.amount_minor[rows],
            "type": np.full(n, TYPES.index("card_payment")),
            "channel": np.full(n, CHANNELS.index("pos")),
        }
        tokens_of = {"customer_id": card, "card_id": card, "terminal_id": self.terminal[rows]}
        return tokens.columns_of_codes(values, tokens_of, np.arange(rows.start, rows.stop, dtype=np.uint64))
