"""The feature state: windows of all entities in this process, read and updated a batch at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scoring.engine import EventBatch, KernelInputError, open_window_store
from scoring.features.columns import TOKEN_FIELDS, TokenTables, TransactionColumns
from scoring.features.own import fill_own_features
from scoring.features.schema import DAY_US, KINDS, OWN_COLUMNS, TYPES, current_schema, window_layout
from scoring.features.state_file import (
    LedgerPosition,
    StateFileRefused,
    StateHeader,
    open_state_file,
    read_blocks,
    write_state,
)

_WIDTH, _OWN = current_schema().width, len(OWN_COLUMNS)


@dataclass(frozen=True)
class FeatureRows:
    """Features of a batch, and what is needed to take it back or to label it.

    Attributes:
        x: [n, F] float32 in the order of the schema.
        late: [n] bool, the event lies further back than the state is kept exactly for.
        clock_us: the newest event time before this batch, None where there was none.
        degraded: the windows lacked what other engine processes decided: the answers must say so.
    """

    x: np.ndarray
    late: np.ndarray
    clock_us: int | None
    degraded: bool = False


class FeatureState:
    """Windows and token tables; one writer at a time. Built empty, filled by processing the ledger in arrival order."""

    def __init__(self, max_lateness_days: float) -> None:
        self.layout = window_layout(int(max_lateness_days * DAY_US))
        self._store = open_window_store(self.layout)
        self.tokens = TokenTables()

    def process(self, batch: TransactionColumns) -> FeatureRows:
        """Return the features of each transaction as of its arrival, and absorb those to be inserted."""
        x = np.empty((len(batch), _WIDTH), np.float32)
        fill_own_features(batch, x)
        events = EventBatch(batch.occurred_us, batch.amount_minor, batch.key, batch.entities, batch.others, batch.insert)
        before = self._store.newest_us
        late = self._store.process(events, x[:, _OWN:])
        return FeatureRows(x, late.astype(bool), before)

    @property
    def clock_us(self) -> int | None:
        """The newest event time met, None before the first."""
        return self._store.newest_us

    def confirm(self, rows: FeatureRows) -> None:
        """Hear that the batch is committed, of which nothing follows where there is one process."""

    def take_back(self, batch: TransactionColumns, rows: FeatureRows) -> None:
        """Undo `process` of the newest batch: it could not be committed.

        What its events pushed out of an entity's memory does not come back: an event that arrives later and lies more
        than the allowed lateness behind the batch would have seen it.
        """
        kept = batch.insert > 0
        self._store.remove(batch.occurred_us[kept], batch.key[kept], batch.entities[kept])
        self._store.newest_us = rows.clock_us

    def absorb(self, batch: TransactionColumns) -> None:
        """Do what `process` does, without the features."""
        self._store.absorb(
            EventBatch(batch.occurred_us, batch.amount_minor, batch.key, batch.entities, batch.others, batch.insert)
        )

    def contains(self, batch: TransactionColumns) -> np.ndarray:
        """Return bool [n]: which transactions are remembered; one that names no entity of ours never is."""
        return self._store.contains(batch.occurred_us, batch.key, batch.entities)

    def remove(self, batch: TransactionColumns) -> None:
        """Forget transactions of any age, as if they had never come; the clock stays. Harmless for those not remembered."""
        self._store.remove(batch.occurred_us, batch.key, batch.entities)

    def label(self, occurred_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray) -> int:
        """Say which events are known as fraud (uint8 1) or not (0); return how many are still remembered."""
        return self._store.label(occurred_us, key, entities, fraud)

    def forget_idle(self, entities: int) -> int:
        """Look at so many entities, going on where the last call stopped, and free those that no window can reach any more.

        Their numbers stay taken. Return how many events were freed.
        """
        clock_us = self.clock_us
        return 0 if clock_us is None else self._store.forget_idle(clock_us - self.layout.retention_us, entities)

    def snapshot(self) -> StateSnapshot:
        """Begin a copy of the state as it is now; this takes microseconds, and its `write` may run in another thread."""
        return StateSnapshot(self)

    def save(self, path: Path, position: LedgerPosition) -> int:
        """Write the state, which has absorbed the ledger up to `position`, and return the bytes of the file."""
        return self.snapshot().write(path, position)

    @classmethod
    def load(cls, path: Path, max_lateness_days: float) -> tuple[FeatureState, LedgerPosition]:
        """Return the state of a file, and up to where in the ledger it has absorbed everything.

        Raises:
            FileNotFoundError: there is no such file.
            StateFileRefused: it is damaged, or was written for another layout; the message says which.
        """
        state = cls(max_lateness_days)
        with open_state_file(path, state.layout_digest) as (header, file):
            try:
                for logs in read_blocks(file, state.tokens.all_tables):
                    state._store.import_logs(logs)
            except KernelInputError as error:
                raise StateFileRefused(f"its logs are damaged: {error}") from None
        state._store.newest_us = header.clock_us
        return state, header.position

    @property
    def layout_digest(self) -> str:
        """Digest of everything that gives the numbers in a saved state their meaning."""
        described = repr((self.layout, KINDS, TOKEN_FIELDS, TYPES, current_schema().version))
        return hashlib.sha256(described.encode()).hexdigest()

    def memory_bytes(self) -> int:
        """Return the bytes that the windows hold (token tables not counted)."""
        return self._store.memory_bytes()

    def event_count(self) -> int:
        """Return the remembered events, summed over the kinds of entity."""
        return self._store.event_count()


class StateSnapshot:
    """A copy of a state as it was when this was made; the state goes on changing meanwhile. One at a time for a state."""

    def __init__(self, state: FeatureState) -> None:
        self._logs = state._store.export()
        self._tables = state.tokens.all_tables
        self._sizes = [len(table) for table in self._tables]
        self._layout, self._clock_us = state.layout_digest, state.clock_us

    def write(self, path: Path, position: LedgerPosition) -> int:
        """Write the file and return its bytes; the snapshot is used up, whatever comes of it.

        Raises:
            OSError: it could not be written; what was there before is left.
            MemoryError: there was none to set changing entities aside.
        """
        try:
            return write_state(path, StateHeader(self._layout, position, self._clock_us), self._tables, self._sizes, self._logs)
        finally:
            self.close()

    def close(self) -> None:
        """Give the copy up."""
        self._logs.close()
