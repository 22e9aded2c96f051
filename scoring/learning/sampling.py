"""Uniform samples of bounded size from a stream: the same rows for the same seed, however the stream was cut."""

from __future__ import annotations

import numpy as np

from scoring.learning.snapshot import RowHeaders


class Reservoir:
    """Keeps `size` of all rows that it is shown, each set of `size` rows being equally likely.

    A row's priority is a hash of its ledger number and the seed, and the smallest priorities stay. So a resumed run
    picks the rows that its first attempt picked, and two reservoirs can be filled from the same rows independently.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seen = 0
        self._seed = seed
        self._kept = RowHeaders.of([])
        self._waiting: list[RowHeaders] = []
        self._waiting_rows = 0

    def add(self, rows: RowHeaders) -> None:
        """Show the reservoir more rows; no row may be shown twice."""
        self.seen += len(rows)
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        # Shrinking now and then, rather than at each chunk, keeps the cost per row constant.
        if self._waiting_rows > self.size:
            self._shrink()

    def rows(self) -> RowHeaders:
        """Return the sample in event-time order."""
        self._shrink()
        return self._kept.where(np.lexsort((self._kept.seq, self._kept.occurred_us)))

    @property
    def weight(self) -> float:
        """How many rows of the stream each kept row stands for."""
        return max(1.0, self.seen / self.size) if self.size else 0.0

    def _shrink(self) -> None:
        rows = RowHeaders.concatenate([self._kept, *self._waiting])
        self._waiting, self._waiting_rows = [], 0
        if len(rows) > self.size:
            priority = _hashed(rows.seq, self._seed)
            rows = rows.where(np.argsort(priority, kind="stable")[: self.size])
        self._kept = rows


def _hashed(seq: np.ndarray, seed: int) -> np.ndarray:
    """Return splitmix64 of the numbers [n]; a bijection, so that priorities never tie."""
    x = seq.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
