"""What an operator asks of batching: a target latency and limits; the batch sizes follow from measured costs."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from inference_core.errors import SchedulingError


class Priority(enum.IntEnum):
    """Classes of work, the most urgent first.

    LIVE: single requests, somebody is waiting at a till. BULK: the batch endpoint. BACKGROUND: dry runs and backtests.
    """

    LIVE = 0
    BULK = 1
    BACKGROUND = 2


DEFAULT_DEADLINES_MS: Mapping[Priority, float] = {Priority.LIVE: 100.0, Priority.BULK: 5_000.0, Priority.BACKGROUND: 60_000.0}
LARGEST_BATCH = 1 << 20


@dataclass(frozen=True)
class DynamicBatchConfig:
    """Attributes:
    target_latency_ms: the p99 from arrival to the end of the batch that batch sizes are chosen for. The size follows from the
        fitted p99 line of the device: n = (target - age of the queue - a) / b.
    max_batch_size: rows of the largest batch, whatever the target allows.
    max_queue_delay_us: the longest that a policy may hold work back to fill a batch while a device is idle; 0 is never.
    deadlines_ms: for each class the time after which an answer is of no use: work that cannot meet it is refused on arrival,
        and dropped unscored once it has passed.
    live_share: share of the capacity that work of the other classes never books.
    burst_wait_us: LIVE work that would wait longer than this goes to the spare unit, where there is one.
    """

    target_latency_ms: float = 5.0
    max_batch_size: int = 1024
    max_queue_delay_us: int = 0
    deadlines_ms: Mapping[Priority, float] = field(default_factory=lambda: dict(DEFAULT_DEADLINES_MS))
    live_share: float = 0.2
    burst_wait_us: int = 1_000

    def __post_init__(self) -> None:
        if not _is_number(self.target_latency_ms) or not 0.05 <= self.target_latency_ms <= 60_000:
            raise SchedulingError(f"target_latency_ms must be from 0.05 to 60000 milliseconds; got {self.target_latency_ms!r}")
        if not _is_whole(self.max_batch_size) or not 1 <= self.max_batch_size <= LARGEST_BATCH:
            raise SchedulingError(f"max_batch_size must be a whole number from 1 to {LARGEST_BATCH}; got {self.max_batch_size!r}")
        if not _is_whole(self.max_queue_delay_us) or not 0 <= self.max_queue_delay_us <= self.target_us / 2:
            raise SchedulingError(
                "max_queue_delay_us must be a whole number from 0 to half of target_latency_ms "
                f"({self.target_us / 2:.0f} us); got {self.max_queue_delay_us!r}"
            )
        if not _is_number(self.live_share) or not 0 <= self.live_share <= 0.9:
            raise SchedulingError(f"live_share must be from 0 to 0.9; got {self.live_share!r}")
        if not _is_whole(self.burst_wait_us) or not 0 <= self.burst_wait_us <= 1_000_000:
            raise SchedulingError(f"burst_wait_us must be a whole number from 0 to 1000000; got {self.burst_wait_us!r}")
        object.__setattr__(self, "deadlines_ms", self._checked_deadlines())

    @property
    def target_us(self) -> float:
        """The target in microseconds."""
        return self.target_latency_ms * 1000.0

    def deadline_us(self, priority: Priority) -> float:
        """Return how long after its arrival work of this class is still wanted, in microseconds."""
        return self.deadlines_ms[priority] * 1000.0

    def _checked_deadlines(self) -> dict[Priority, float]:
        if not isinstance(self.deadlines_ms, Mapping):
            raise SchedulingError(f"deadlines_ms must map classes to milliseconds; got {self.deadlines_ms!r}")
        unknown = [of for of in self.deadlines_ms if of not in list(Priority)]
        if unknown:
            raise SchedulingError(f"deadlines_ms names {unknown[0]!r}; the classes are LIVE, BULK and BACKGROUND")
        deadlines = {Priority(of): ms for of, ms in {**DEFAULT_DEADLINES_MS, **self.deadlines_ms}.items()}
        for priority, ms in deadlines.items():
            if not _is_number(ms) or not self.target_latency_ms <= ms <= 3_600_000:
                raise SchedulingError(
                    f"deadlines_ms of {priority.name} must be from target_latency_ms ({self.target_latency_ms:g}) to 3600000; "
                    f"got {ms!r}"
                )
        return deadlines


def _is_number(of: object) -> bool:
    return isinstance(of, (int, float)) and not isinstance(of, bool) and math.isfinite(of)


def _is_whole(of: object) -> bool:
    return isinstance(of, int) and not isinstance(of, bool)
