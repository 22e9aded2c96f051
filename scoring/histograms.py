"""Histograms of plain numbers: to observe one costs a fraction of a microsecond, as it happens for every batch."""

from __future__ import annotations

from bisect import bisect_left
from operator import mul
from typing import Any

import numpy as np

_WORTH_AN_ARRAY = 24

# Eight bounds a decade from 0.1 ms to 10 s: neighbours are a factor 1.33 apart. A bucket holds what is above the
# bound before it and not above its own; one more bucket after the last takes the overflow.
LATENCY_BOUNDS_MS: tuple[float, ...] = tuple(round(10 ** (-1 + i / 8), 4) for i in range(41))
# 1 microsecond to 2.1 s, doubling: a stage of one row as well as of a full batch.
STAGE_BOUNDS: tuple[float, ...] = tuple(1e-6 * 2**i for i in range(22))
BATCH_BOUNDS: tuple[float, ...] = tuple(float(2**i) for i in range(15))
AGE_BOUNDS: tuple[float, ...] = tuple(1e-5 * 2**i for i in range(21))

# The way of a batch. `deliver` is handing the answers to those who wait for them.
STAGES = ("parse", "idempotency", "features", "program", "decide", "render", "commit", "deliver")
PARSE, IDEMPOTENCY, FEATURES, PROGRAM, DECIDE, RENDER, COMMIT, DELIVER = range(len(STAGES))


class Histogram:
    """Counts per bucket and the sum of what was observed. One writer at a time; readers may be a moment behind."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Note that `value` occurred `count` times."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count

    def observe_all(self, values: list[float], counts: list[int]) -> None:
        """As `observe` for each of the values, in one go."""
        if len(values) < _WORTH_AN_ARRAY:
            for value, count in zip(values, counts, strict=True):
                self.observe(value, count)
            return
        buckets = np.bincount(np.searchsorted(self.bounds, values), counts, len(self.counts)).tolist()
        self.counts = [before + int(more) for before, more in zip(self.counts, buckets, strict=True)]
        self.sum += sum(map(mul, values, counts))

    def state(self) -> dict[str, Any]:
        return {"counts": list(self.counts), "sum": self.sum}


class StageTimes:
    """How long the stages of a batch took on one device, by one variant of the program.

    Each observation is one batch, so that a sum of seconds is time that the device was at work, and seconds by rows is
    the cost of a row.
    """

    __slots__ = ("device", "variant", "counts", "seconds", "rows")

    def __init__(self, device: str, variant: str) -> None:
        self.device, self.variant = device, variant
        self.counts = [[0] * (len(STAGE_BOUNDS) + 1) for _ in STAGES]
        self.seconds = [0.0] * len(STAGES)
        self.rows = [0] * len(STAGES)

    def observe(self, stage: int, seconds: float, rows: int) -> None:
        """Note that `stage` (PARSE, ... DELIVER) took `seconds` for a batch of `rows`."""
        self.counts[stage][bisect_left(STAGE_BOUNDS, seconds)] += 1
        self.seconds[stage] += seconds
        self.rows[stage] += rows

    def state(self) -> dict[str, Any]:
        return {
            STAGES[i]: {"counts": list(self.counts[i]), "sum": self.seconds[i], "rows": self.rows[i]}
            for i in range(len(STAGES))
            if self.rows[i] or any(self.counts[i])
        }
