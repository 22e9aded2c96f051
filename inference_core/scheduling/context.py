"""What a learned policy sees of the situation, as numbers that mean the same on any machine."""

from __future__ import annotations

import math

from inference_core.scheduling.policy import Situation

FEATURES = (
    "one", "load", "load above 0.6", "load above 0.9", "slope", "recent load above 0.95", "queue age", "queue age up to a half",
    "other classes", "load of other classes", "busy share", "spread of busy shares", "memory bandwidth", "unevenness",
)  # fmt: skip


class ContextReader:
    """Reads the context of a window; remembers the units' busy times of the window before.

    Args:
        bytes_per_row: what the units read and write for a row.
        peak_bytes_per_us: what the memory was measured to move; 0 leaves that feature out.
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
        self.load = load = min(rate / capacity, 2.0)
        self.recent_load = recent = min(traffic.recent / capacity, 3.0)
        low = 1.0 - min(traffic.live_rate / rate, 1.0) if rate > 0 else 0.0
        self.low_load = low * load
        self.age = age = min((situation.now_us - situation.oldest_us) / config.target_us, 4.0) if situation.waiting else 0.0
        shares = self._busy_shares(situation)
        return (
            1.0,
            load,
            max(0.0, load - 0.6),
            max(0.0, load - 0.9),
            max(-1.0, min(recent - load, 1.0)),
            max(0.0, recent - 0.95),
            age,
            min(age, 0.5),
            low,
            self.low_load,
            sum(shares) / len(shares),
            max(shares) - min(shares),
            min(rate * self._bandwidth_of_rate, 1.0),
            min(math.log2(1.0 + traffic.unevenness) / 8.0, 1.0),
        )

    def _busy_shares(self, situation: Situation) -> list[float]:
        now = situation.now_us
        # A batch that is running counts as far as it is expected to have come.
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
