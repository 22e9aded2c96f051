"""How much work arrives: rates that forget, their slope, how uneven they are, and the moment at which they change."""

from __future__ import annotations

import math

from inference_core.scheduling.config import Priority

_CLASSES = len(Priority)
_SETTLED = 10


class PageHinkley:
    """Page (1954) and Hinkley (1971): tells when the mean of a series has moved, up or down; constant time a value.

    Args:
        drift: how far a value may lie from the mean without counting.
        threshold: the sum of deviations at which the mean has moved.
    """

    __slots__ = ("_down", "_mean", "_seen", "_up", "drift", "threshold")

    def __init__(self, drift: float = 0.5, threshold: float = 10.0) -> None:
        self.drift, self.threshold = drift, threshold
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self._mean = self._up = self._down = 0.0
        self._seen = 0

    def add(self, value: float, scale: float = 1.0) -> bool:
        """Add a value whose usual spread is `scale`; return whether the mean has moved, and begin anew if so."""
        self._seen += 1
        self._mean += (value - self._mean) / (self._seen if self._seen < 200 else 200)
        deviation = (value - self._mean) / scale
        self._up = max(0.0, self._up + deviation - self.drift)
        self._down = max(0.0, self._down - deviation - self.drift)
        if self._up > self.threshold or self._down > self.threshold:
            self.reset()
            return True
        return False


class Traffic:
    """Rates of arrival, in rows per microsecond.

    Attributes:
        arrived: rows admitted since the last look, by class; the scheduler counts them up.
        rate: over about SLOW_US.
        recent: over about FAST_US.
        live_rate: that of LIVE rows, over about SLOW_US.
        unevenness: variance of the rows in a look by their mean, over SLOW_US; 1 for a Poisson stream of single rows.
        changes: how often the rate has changed.
        changed_us: when it did last; minus infinity before.
    """

    LOOK_US = 1_000.0
    FAST_US = 4_000.0
    SLOW_US = 40_000.0
    __slots__ = (
        "_detector", "_last", "_looks", "_mean", "_square",
        "arrived", "changed_us", "changes", "live_rate", "rate", "recent", "unevenness",
    )  # fmt: skip

    def __init__(self, now_us: float = 0.0, detector: PageHinkley | None = None) -> None:
        self.arrived = [0] * _CLASSES
        self.rate = self.recent = self.live_rate = 0.0
        self.unevenness = 1.0
        self.changes, self.changed_us = 0, -math.inf
        self._last, self._mean, self._square, self._looks = now_us, 0.0, 0.0, 0
        self._detector = detector or PageHinkley()

    def look(self, now_us: float) -> bool:
        """Bring the rates up to date where LOOK_US has passed; return whether the rate has changed."""
        passed = now_us - self._last
        if passed < self.LOOK_US:
            return False
        self._last = now_us
        arrived = self.arrived
        rows, live = sum(arrived), arrived[0]
        arrived[:] = [0] * _CLASSES
        rate = rows / passed
        self._looks += 1
        # The first looks count in full, so that a start does not look like a rise.
        first = 1.0 / self._looks
        slow = max(passed / (passed + self.SLOW_US), first)
        self.recent += max(passed / (passed + self.FAST_US), first) * (rate - self.recent)
        self.rate += slow * (rate - self.rate)
        self.live_rate += slow * (live / passed - self.live_rate)
        per_look = rate * self.LOOK_US
        before = self._mean
        self._mean += slow * (per_look - before)
        # Of the squares around the mean before and after, so that it is right from the first looks on (Welford 1962).
        self._square += slow * ((per_look - before) * (per_look - self._mean) - self._square)
        if self._looks >= _SETTLED and self._mean > 0:
            self.unevenness = self._square / self._mean
        # The square root of a Poisson count has the same spread at any rate; streams known to be uneven may stray further.
        if self._detector.add(2.0 * math.sqrt(per_look), math.sqrt(max(1.0, self.unevenness))):
            self.changes += 1
            self.changed_us = now_us
            return True
        return False

    @property
    def slope(self) -> float:
        """How much more arrives lately than on the whole, from -1 (nothing) upwards."""
        return self.recent / self.rate - 1.0 if self.rate > 0 else 0.0
