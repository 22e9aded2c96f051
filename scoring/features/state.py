"""The feature state: windows of all entities in this process, read and updated a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scoring.engine import EntityPlan, EventBatch, entities_of, open_token_table, open_window_store
from scoring.features.columns import TOKEN_FIELDS, TokenTables, TransactionColumns
from scoring.features.own import fill_own_features
from scoring.features.schema import DAY_US, KINDS, OWN_COLUMNS, TYPES, current_schema, window_layout


def _position(name: str | None) -> int:
    return -1 if name is None else TOKEN_FIELDS.index(name)


_PLAN = EntityPlan(
    tuple(
        (
            _position(kind.key[0]),
            _position(kind.key[1] if len(kind.key) > 1 else None),
            _position(kind.distinct),
            -1 if kind.only_type is None else TYPES.index(kind.only_type),
        )
        for kind in KINDS
    )
)


@dataclass(frozen=True)
class FeatureRows:
    """Features of a batch, and what is needed to take it back or to label it.

    Attributes:
        x: [n, F] float32 in the order of the schema.
        entities: [n, K] int32.
        late: [n] bool, the event lies further back than the state is kept exactly for.
        clock_us: the newest event time before this batch.
    """

    x: np.ndarray
    entities: np.ndarray
    late: np.ndarray
    clock_us: int


class FeatureState:
    """Windows and token tables; one writer at a time. Built empty, filled by processing the ledger in arrival order."""

    def __init__(self, max_lateness_days: float) -> None:
        self._max_lateness_us = int(max_lateness_days * DAY_US)
        self.layout = window_layout(self._max_lateness_us)
        self._store = open_window_store(self.layout)
        self.tokens = TokenTables()
        self._pairs = [open_token_table() if len(kind.key) > 1 else None for kind in KINDS]
        self.clock_us = 0  # newest event time met

    def process(self, batch: TransactionColumns) -> FeatureRows:
        """Return the features of each transaction as of its arrival, and absorb those to be inserted."""
        x = np.empty((len(batch), current_schema().width), np.float32)
        fill_own_features(batch, x)
        entities, others = self._name_entities(batch)
        events = EventBatch(batch.occurred_us, batch.amount_minor, batch.key, entities, others, batch.insert)
        too_late = self._store.process(events, x[:, len(OWN_COLUMNS) :])
        before = self.clock_us
        late = (too_late > 0) | (batch.occurred_us < self._clocks(batch) - self._max_lateness_us)
        return FeatureRows(x, entities, late, before)

    def _clocks(self, batch: TransactionColumns) -> np.ndarray:
        """Return [n] the newest event time that each transaction finds, and advance the clock past the batch."""
        absorbed = np.where(batch.insert > 0, batch.occurred_us, self.clock_us)
        clocks = np.maximum.accumulate(np.concatenate([[self.clock_us], absorbed]))
        self.clock_us = int(clocks[-1])
        return clocks[:-1]

    def take_back(self, batch: TransactionColumns, rows: FeatureRows) -> None:
        """Undo `process` of the newest batch: it could not be committed.

        What its events pushed out of an entity's memory does not come back: an event that arrives later and lies more
        than the allowed lateness behind the batch would have seen it.
        """
        kept = batch.insert > 0
        self._store.remove(batch.occurred_us[kept], batch.key[kept], rows.entities[kept])
        self.clock_us = rows.clock_us

    def label(self, occurred_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray) -> int:
        """Say which events are known as fraud (uint8 1) or not (0); return how many are still remembered."""
        return self._store.label(occurred_us, key, entities, fraud)

    def memory_bytes(self) -> int:
        """Return the bytes that the windows hold (token tables not counted)."""
        return self._store.memory_bytes()

    def event_count(self) -> int:
        """Return the remembered events, summed over the kinds of entity."""
        return self._store.event_count()

    def entities_of(self, batch: TransactionColumns) -> np.ndarray:
        """Return [n, K] int32: the row of each kind's entity, ABSENT where the transaction does not name it."""
        return self._name_entities(batch)[0]

    def _name_entities(self, batch: TransactionColumns) -> tuple[np.ndarray, np.ndarray]:
        """Return the entities and their counterparts, both [n, K] int32."""
        return entities_of(_PLAN, self._pairs, batch.tokens, batch.type_code, batch.insert)
