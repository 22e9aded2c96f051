"""The feature state: windows of all entities in this process, read and updated a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoring.engine import EventBatch, open_window_store
from scoring.features.columns import TokenTables, TransactionColumns
from scoring.features.own import fill_own_features
from scoring.features.schema import DAY_US, OWN_COLUMNS, current_schema, window_layout


@dataclass(frozen=True)
class FeatureRows:
    """Features of a batch, and what is needed to take it back or to label it.

    Attributes:
        x: [n, F] float32 in the order of the schema.
        late: [n] bool, the event lies further back than the state is kept exactly for.
        clock_us: the newest event time before this batch.
        degraded: the windows lacked what other engine processes decided: the answers must say so.
    """

    x: np.ndarray
    late: np.ndarray
    clock_us: int
    degraded: bool = False


class FeatureState:
    """Windows and token tables; one writer at a time. Built empty, filled by processing the ledger in arrival order."""

    def __init__(self, max_lateness_days: float) -> None:
        self._max_lateness_us = int(max_lateness_days * DAY_US)
        self.layout = window_layout(self._max_lateness_us)
        self._store = open_window_store(self.layout)
        self.tokens = TokenTables()
        self.clock_us = 0  # newest event time met

    def process(self, batch: TransactionColumns) -> FeatureRows:
        """Return the features of each transaction as of its arrival, and absorb those to be inserted."""
        x = np.empty((len(batch), current_schema().width), np.float32)
        fill_own_features(batch, x)
        events = EventBatch(batch.occurred_us, batch.amount_minor, batch.key, batch.entities, batch.others, batch.insert)
        too_late = self._store.process(events, x[:, len(OWN_COLUMNS) :])
        before = self.clock_us
        late = (too_late > 0) | (batch.occurred_us < self._clocks(batch) - self._max_lateness_us)
        return FeatureRows(x, late, before)

    def _clocks(self, batch: TransactionColumns) -> np.ndarray:
        """Return [n] the newest event time that each transaction finds, and advance the clock past the batch."""
        absorbed = np.where(batch.insert > 0, batch.occurred_us, self.clock_us)
        clocks = np.maximum.accumulate(np.concatenate([[self.clock_us], absorbed]))
        self.clock_us = int(clocks[-1])
        return clocks[:-1]

    def confirm(self, rows: FeatureRows) -> None:
        """Hear that the batch is committed, of which nothing follows where there is one process."""

    def take_back(self, batch: TransactionColumns, rows: FeatureRows) -> None:
        """Undo `process` of the newest batch: it could not be committed.

        What its events pushed out of an entity's memory does not come back: an event that arrives later and lies more
        than the allowed lateness behind the batch would have seen it.
        """
        kept = batch.insert > 0
        self._store.remove(batch.occurred_us[kept], batch.key[kept], batch.entities[kept])
        self.clock_us = rows.clock_us

    def absorb(self, batch: TransactionColumns) -> None:
        """Do what `process` does, without the features."""
        self._store.absorb(
            EventBatch(batch.occurred_us, batch.amount_minor, batch.key, batch.entities, batch.others, batch.insert)
        )
        self._clocks(batch)

    def contains(self, batch: TransactionColumns) -> np.ndarray:
        """Return bool [n]: which transactions are remembered; one that names no entity of ours never is."""
        return self._store.contains(batch.occurred_us, batch.key, batch.entities)

    def remove(self, batch: TransactionColumns) -> None:
        """Forget transactions of any age, as if they had never come; the clock stays. Harmless for those not remembered."""
        self._store.remove(batch.occurred_us, batch.key, batch.entities)

    def label(self, occurred_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray) -> int:
        """Say which events are known as fraud (uint8 1) or not (0); return how many are still remembered."""
        return self._store.label(occurred_us, key, entities, fraud)

    def memory_bytes(self) -> int:
        """Return the bytes that the windows hold (token tables not counted)."""
        return self._store.memory_bytes()

    def event_count(self) -> int:
        """Return the remembered events, summed over the kinds of entity."""
        return self._store.event_count()
