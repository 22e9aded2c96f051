"""Rules that others serve with, as policies of the same protocol, under the same admission, deadlines and costs."""

from __future__ import annotations

from collections import deque

from inference_core.scheduling import Situation, Unit


class _Quiet:
    def completed(
        self, situation: Situation, unit: Unit, rows: int, took_us: float, live_rows: int, oldest_live_us: float
    ) -> None:
        """Learns nothing."""


def _idle(situation: Situation, name: str | None) -> Unit | None:
    """Return the unit of that name, or the first idle one where none is named, if it is idle."""
    for unit in situation.units:
        if unit.idle and unit.healthy and (name is None or unit.name == name):
            return unit
    return None


class FixedBatch(_Quiet):
    """A batch leaves when it is full or its oldest row has waited `wait_us`; on one unit, or on any."""

    def __init__(self, batch: int, wait_us: float, unit: str | None = None) -> None:
        self.batch, self.wait_us, self.unit = batch, wait_us, unit
        self.name = f"fixed {batch} rows, {wait_us:g} us, {unit or 'any unit'}"

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """See Policy."""
        unit = _idle(situation, self.unit)
        if unit is None:
            return None
        until = situation.oldest_us + self.wait_us
        if situation.waiting < self.batch and until > situation.now_us:
            situation.wake_us = until
            return None
        return unit, self.batch, self.batch


class Triton(FixedBatch):
    """Triton's dynamic batcher: a batch of a preferred size leaves at once, else after the largest queue delay whatever is there
    (server/docs/user_guide/model_configuration.md, "Dynamic Batcher")."""

    def __init__(self, most: int, delay_us: float, preferred: tuple[int, ...]) -> None:
        super().__init__(most, delay_us)
        self.preferred = tuple(sorted(preferred, reverse=True))
        self.name = "Triton's rule"

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """See Policy."""
        unit = _idle(situation, None)
        if unit is None:
            return None
        for size in (self.batch, *self.preferred):
            if situation.waiting >= size:
                return unit, size, size
        return super().choose(situation)


class Aimd(_Quiet):
    """Clipper's additive increase, multiplicative decrease of the batch size (NSDI 2017, section 4.3.1)."""

    name = "Clipper's AIMD"

    def __init__(self) -> None:
        self._most: dict[str, float] = {}

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """See Policy."""
        unit = _idle(situation, None)
        most = int(self._most.setdefault(unit.name, 1.0))
        return unit, most, most

    def completed(
        self, situation: Situation, unit: Unit, rows: int, took_us: float, live_rows: int, oldest_live_us: float
    ) -> None:
        """Grow by one after a full batch within half the target (the other half is for waiting), else shrink by a tenth."""
        most = self._most.get(unit.name, 1.0)
        if took_us > 0.5 * situation.config.target_us:
            self._most[unit.name] = max(1.0, most * 0.9)
        elif rows >= int(most):
            self._most[unit.name] = min(most + 1.0, situation.config.max_batch_size)


class BentoMl(_Quiet):
    """BentoML's dispatcher (marshal/dispatcher.py), driven by events instead of its tick of 1 ms.

    It fits duration = a n + b over the last 50 batches, and goes on waiting for one more row while
    n (w + dt + a) <= 0.95 x average wait, where w is how long the newest row waits and dt the expected time to the next.
    """

    name = "BentoML's rule"

    def __init__(self) -> None:
        self._batches: deque[tuple[int, float]] = deque(maxlen=50)
        self._row, self._fixed = 10.0, 100.0
        self._wait = 0.0
        self._since = 0

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """See Policy."""
        unit = _idle(situation, None)
        n, now = situation.waiting, situation.now_us
        most = situation.config.max_batch_size
        rate = situation.traffic.rate
        gap = 1.0 / rate if rate > 0 else 1e9
        waited = now - situation.oldest_us
        slack = situation.config.target_us - waited - self._row * n - self._fixed
        if n < most and slack > gap and n * (gap + self._row) <= 0.95 * self._wait:
            situation.wake_us = now + gap
            return None
        return unit, most, most

    def completed(
        self, situation: Situation, unit: Unit, rows: int, took_us: float, live_rows: int, oldest_live_us: float
    ) -> None:
        """Fit the line anew now and then, and average the waits."""
        self._batches.append((rows, took_us))
        self._wait += 0.1 * (max(0.0, oldest_live_us - took_us) - self._wait)
        self._since += 1
        if self._since < 20:
            return
        self._since = 0
        count = len(self._batches)
        mean_n = sum(n for n, _ in self._batches) / count
        mean_us = sum(us for _, us in self._batches) / count
        spread = sum((n - mean_n) ** 2 for n, _ in self._batches)
        if spread > 0:
            slope = sum((n - mean_n) * (us - mean_us) for n, us in self._batches) / spread
            self._row, self._fixed = max(slope, 0.0), max(mean_us - slope * mean_n, 0.0)


class Greedy(_Quiet):
    """Takes all that waits as soon as its one unit is idle."""

    def __init__(self, unit: str) -> None:
        self.unit, self.name = unit, f"greedy on {unit}"

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """See Policy."""
        unit = _idle(situation, self.unit)
        most = situation.config.max_batch_size
        return None if unit is None else (unit, most, most)


class OneByOne(_Quiet):
    """A batch is one row, on any idle unit."""

    name = "one by one"

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """See Policy."""
        unit = _idle(situation, None)
        return None if unit is None else (unit, 1, 1)
