"""Labels as a bank gets them: each a fixed time after its payment, and to the state and the training alike."""

from __future__ import annotations

import numpy as np

from scoring.features.schema import RISK_DELAY_US
from scoring.features.state import FeatureState
from tests.benchmarks.accuracy.payments import Payments

UNKNOWN = -1


class LabelDelivery:
    """Holds the verdicts back until they are due, then tells the state and fills `known`.

    Attributes:
        known: [N] int8, UNKNOWN until delivered, then 0 or 1. Training reads labels from nowhere else.
    """

    def __init__(self, payments: Payments) -> None:
        self.known = np.full(len(payments), UNKNOWN, np.int8)
        self._payments = payments
        self._delivered = 0

    def deliver(self, now_us: int, state: FeatureState) -> None:
        """Deliver what is due at `now_us`: the verdicts on payments made RISK_DELAY_US earlier or before that."""
        due = int(np.searchsorted(self._payments.occurred_us, now_us - RISK_DELAY_US, side="right"))
        if due <= self._delivered:
            return
        rows = slice(self._delivered, due)
        batch, fraud = self._payments.columns(rows, state.tokens), self._payments.fraud[rows]
        state.label(batch.occurred_us, batch.key, batch.entities, fraud)
        self.known[rows] = fraud
        self._delivered = due
