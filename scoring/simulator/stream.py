"""The outcome of a simulation, as a bank would send it and as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scoring.ingest.columns import MINUTE, SECOND, PaymentColumns
from scoring.simulator.config import SimulationConfig

_CHUNK_ROWS = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedStream:
    """N payments in event order, and the reports about them.

    Attributes:
        columns: the payments as arrays; `columns.label` is the truth, reported or not.
        typology: `int8 [N]`, 0 for honest payments, else 1 + the index in `TYPOLOGIES`.
        incident: `int32 [N]`, the fraud that a payment belongs to; -1 for honest ones.
        reported_us: `int64 [N]`, when it is reported as fraud; -1 where never. Reports may come
            after the last payment.
        reports: the bodies of `labels`, each with its `reported_at` in microseconds.
    """

    config: SimulationConfig
    columns: PaymentColumns
    typology: np.ndarray
    incident: np.ndarray
    reported_us: np.ndarray
    reports: list[tuple[int, dict[str, Any]]]

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def transactions(self) -> Iterator[dict[str, Any]]:
        """The payments as bodies of `POST /api/v1/decisions`, in event order."""
        for _, body in self.timed_transactions():
            yield body

    @property
    def labels(self) -> list[dict[str, Any]]:
        """The reports as bodies of `POST /api/v1/labels`, by `reported_at`."""
        return [dict(body) for _, body in self.reports]

    def timed_transactions(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The payments, each with its time in microseconds since 1970-01-01 UTC."""
        return self._bodies(np.arange(len(self)), self.columns.occurred_us)

    def timed_labels(self) -> list[tuple[int, dict[str, Any]]]:
        """The reports, each with the time at which it is made, in that order."""
        return list(self.reports)

    def arrivals(self, *, late_share: float = 0.03) -> Iterator[dict[str, Any]]:
        """The payments in the order in which a real feed brings them: a few come late."""
        for _, body in self.timed_arrivals(late_share=late_share):
            yield body

    def timed_arrivals(self, *, late_share: float = 0.03) -> Iterator[tuple[int, dict[str, Any]]]:
        """The payments in order of arrival, each with that time.

        All take a fraction of a second; `late_share` of them are late by seconds to ten minutes.
        """
        rng = np.random.default_rng([self.config.seed, 1])
        size = len(self)
        delay = rng.integers(20_000, 400_000, size)
        lateness = np.clip(rng.lognormal(np.log(45), 1.2, size) * SECOND, 2 * SECOND, 10 * MINUTE)
        late = rng.random(size) < late_share
        arrived = self.columns.occurred_us + delay + np.where(late, lateness, 0).astype(np.int64)
        order = np.argsort(arrived, kind="stable")
        return self._bodies(order, arrived[order])

    def _bodies(self, rows: np.ndarray, times_us: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
        for start in range(0, len(rows), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            yield from zip(times_us[part].tolist(), self.columns.dicts(rows[part]), strict=True)
