"""What a learned policy sees of the situation, as numbers that mean the same on any machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

from inference_core.scheduling.policy import Situation

# Where the piecewise linear functions of a quantity bend. Loads are shares of the capacity, the age one of the target.
_LOAD = (0.2, 0.5, 0.8, 0.95, 1.1)
_RECENT = (0.2, 0.5, 0.75, 0.9, 1.0, 1.2, 1.6)
_AGE = (0.0, 0.1, 0.3, 0.8, 2.0)
FEATURES = (
    *(f"load near {at:g}" for at in _LOAD),
    *(f"recent load near {at:g}" for at in _RECENT),
    *(f"queue age near {at:g}" for at in _AGE),
    "slope",
    "other classes",
    "load of other classes",
    "busy share",
    "spread of busy shares",
    "memory bandwidth",
    "unevenness",
)


class ContextReader:
    """Reads the context of a window; remembers the units' busy times of the window before.

    Args:
        bytes_per_row: what the units read and write for a row.
        peak_bytes_per_us: what the memory was measured to move; 0 leaves that feature at zero.

    Attributes:
        load, recent_load, low_load: of the latest reading: all rows over the longer and the shorter time, and those of other
            classes than LIVE; shares of the capacity.
        age: age of the queue by the target.
    """

    def __init__(self, bytes_per_row: float = 0.0, peak_bytes_per_us: float = 0.0) -> None:
        self._bandwidth_of_rate = bytes_per_row / peak_bytes_per_us if peak_bytes_per_us > 0 else 0.0
        self._busy: list[float] = []
        self._at = 0.0
        self.load = self.recent_load = self.low_load = self.age = 0.0

    def read(self, situation: Situation) -> tuple[float, ...]:
        """Return the features, in the order of FEATURES; all are clipped, so that nothing unheard of is extrapolated far."""
        traffic, config = situation.traffic, situation.config
        capacity = capacity_per_us(situation, config.target_us)
        rate = traffic.rate
        self.load = load = rate / capacity
        self.recent_load = recent = traffic.recent / capacity
        low = 1.0 - min(traffic.live_rate / rate, 1.0) if rate > 0 else 0.0
        self.low_load = low * load
        self.age = age = (situation.now_us - situation.oldest_us) / config.target_us if situation.waiting else 0.0
        shares = self._busy_shares(situation)
        return (
            *_tents(load, _LOAD),
            *_tents(recent, _RECENT),
            *_tents(age, _AGE),
            max(-1.0, min(recent - load, 1.0)),
            low,
            min(self.low_load, 1.0),
            sum(shares) / len(shares),
            max(shares) - min(shares),
            min(rate * self._bandwidth_of_rate, 1.0),
            min(math.log2(1.0 + traffic.unevenness) / 8.0, 1.0),
        )

    def _busy_shares(self, situation: Situation) -> list[float]:
        now = situation.now_us
        busy = [unit.busy_us for unit in situation.units]
        passed = max(now - self._at, 1.0)
        before = self._busy if len(self._busy) == len(busy) else busy
        self._busy, self._at = busy, now
        return [min(max((b - a) / passed, 0.0), 1.0) for a, b in zip(before, busy, strict=True)]


def capacity_per_us(situation: Situation, budget_us: float) -> float:
    """Return the rows a microsecond that the healthy units do in batches whose p99 keeps within the budget."""
    most, variant, rate = situation.config.max_batch_size, situation.variant, 0.0
    for unit in situation.units:
        if unit.healthy:
            line = unit.lines[variant]
            rows = line.rows_within(budget_us, most)
            rate += rows / (line.fixed_us + line.row_us * rows)
    return max(rate, 1e-9)


def _tents(value: float, knots: Sequence[float]) -> list[float]:
    """Return the weights by which a function that is linear between the knots is made from its values there."""
    weights = [0.0] * len(knots)
    if value <= knots[0]:
        weights[0] = 1.0
        return weights
    for i in range(1, len(knots)):
        if value < knots[i]:
            share = (value - knots[i - 1]) / (knots[i] - knots[i - 1])
            weights[i - 1], weights[i] = 1.0 - share, share
            return weights
    weights[-1] = 1.0
    return weights
