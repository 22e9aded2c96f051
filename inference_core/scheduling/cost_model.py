"""What a batch costs now: the line a + b n of a device and variant, fitted as batches complete, and its 99th percentile.

Recursive least squares with exponential forgetting in two unknowns needs five sums and no matrix; neither part is let below
zero, by the same rule as in inference_core/runtime/cost.py. Errors count relative to the predicted time, so that small
batches matter. Plain floats: this runs on an event loop after every batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from inference_core.errors import SchedulingError
from inference_core.runtime.cost import CostLine

# A batch's weight after k more is FORGETTING ** k: about 40 batches are remembered, and 7 where they no longer tell the costs.
FORGETTING = 0.975
_FORGETTING_AT_CHANGE = 0.85
_CHANGED = 0.2
# Weight of the line known before, which keeps the slope defined while all batches have one size.
_PRIOR_WEIGHT = 0.05
# The sizes at which that line is believed.
_PRIOR_ROWS = (1.0, 256.0)
_LEVEL_STEP = 0.1
_TAIL_STEP = 0.2
_Z99 = 2.326
# One batch may pull the line by no more than this factor: a pause of the host is no property of the device.
_MOST_PULL = 4.0


class _Line:
    """What follows from a line and its tail."""

    __slots__ = ()
    fixed_us: float
    row_us: float
    fixed_p99_us: float
    row_p99_us: float

    def at(self, rows: float) -> float:
        """Return the expected microseconds of `rows`."""
        return self.fixed_us + self.row_us * rows

    def p99(self, rows: float) -> float:
        """Return the microseconds that 99 of 100 batches of `rows` keep below."""
        return self.fixed_p99_us + self.row_p99_us * rows

    def rows_within(self, budget_us: float, most: int) -> int:
        """Return how many rows are done within the budget in 99 of 100 cases, from 1 to `most`."""
        room = budget_us - self.fixed_p99_us
        if room <= self.row_p99_us:
            return 1
        if room >= self.row_p99_us * most:
            return most
        return int(room / self.row_p99_us)

    def rows_worth(self, budget_us: float, most: int) -> int:
        """Return `rows_within`, but no fewer than cost as much as the fixed part.

        While the fixed part alone takes most of the budget (a disk that syncs slowly), smaller batches would keep within it no
        better, and throughput would fall to a row each: work that could be done in a few batches would be refused for good.
        """
        within = self.rows_within(budget_us, most)
        if within * self.row_us >= self.fixed_us:
            return within
        return max(within, min(most, int(self.fixed_us / self.row_us) if self.row_us > 0 else most))


class OnlineLine(_Line):
    """The cost of n rows on one device with one variant of the program.

    Attributes:
        fixed_us, row_us: the expected line, in microseconds.
        tail: the 99th percentile of observed / expected.
        fixed_p99_us, row_p99_us: the line times `tail`.
        batches: how many were observed.
    """

    __slots__ = (
        "_bias", "_level", "_prior_fixed", "_prior_row", "_s", "_sn", "_snn", "_sny", "_spread", "_sy", "_tail_log",
        "batches", "fixed_p99_us", "fixed_us", "row_p99_us", "row_us", "tail",
    )  # fmt: skip

    def __init__(self, start: CostLine, tail: float = 1.5) -> None:
        if start.fixed_us + start.row_us <= 0:
            raise SchedulingError(f"the cost line of {start.variant} is zero; measure it")
        self._prior_fixed, self._prior_row = start.fixed_us, start.row_us
        self._s = self._sn = self._snn = self._sy = self._sny = 0.0
        self._level, self._bias, self._spread, self._tail_log = 1.0, 0.0, 0.01, math.log(tail)
        self.batches = 0
        self._set(start.fixed_us, start.row_us)

    def observe(self, rows: int, took_us: float) -> None:
        """Learn from a batch that took `took_us`; constant time."""
        expected = self.fixed_us + self.row_us * rows
        ratio = took_us / expected
        self._learn_tail(ratio)
        if ratio > _MOST_PULL:
            took_us = expected * _MOST_PULL
        # The level follows a device that became slower or quicker as a whole, and takes the prior with it.
        prior = self._prior_fixed + self._prior_row * rows
        self._level += _LEVEL_STEP * (took_us / prior - self._level)
        # Weights come from the prior and not from the present line: else a device that became slower would count for less.
        w = 1.0 / (prior * prior)
        keep = FORGETTING if -_CHANGED < self._bias < _CHANGED else _FORGETTING_AT_CHANGE
        wn = w * rows
        self._s = keep * self._s + w
        self._sn = keep * self._sn + wn
        self._snn = keep * self._snn + wn * rows
        self._sy = keep * self._sy + w * took_us
        self._sny = keep * self._sny + wn * took_us
        self.batches += 1
        self._solve()

    def _solve(self) -> None:
        s, sn, snn, sy, sny = self._s, self._sn, self._snn, self._sy, self._sny
        level = self._level
        for n in _PRIOR_ROWS:
            prior = self._prior_fixed + self._prior_row * n
            us = prior * level
            w = _PRIOR_WEIGHT / (prior * prior)
            s += w
            sn += w * n
            snn += w * n * n
            sy += w * us
            sny += w * n * us
        determinant = s * snn - sn * sn
        fixed, row = (sy * snn - sn * sny) / determinant, (s * sny - sn * sy) / determinant
        # Of two unknowns the best non-negative solution lies on an edge where the free one is negative.
        if fixed < 0:
            fixed, row = 0.0, sny / snn
        elif row < 0:
            fixed, row = sy / s, 0.0
        self._set(fixed, row)

    def _learn_tail(self, ratio: float) -> None:
        """Robbins and Monro's quantile, in logarithms, with a normal distribution's as the floor."""
        log = math.log(ratio) if ratio > 1e-6 else -13.8
        self._bias += 0.1 * ((log if log < 1.0 else 1.0) - self._bias)
        self._spread += 0.02 * (min(log * log, 1.0) - self._spread)
        deviation = math.sqrt(self._spread)
        step = _TAIL_STEP * (deviation if deviation > 0.05 else 0.05)
        if log > self._tail_log:
            self._tail_log += 0.99 * step
        else:
            self._tail_log -= 0.01 * step
        floor = _Z99 * deviation
        if self._tail_log < floor:
            self._tail_log = floor
        elif self._tail_log > 2.0:
            self._tail_log = 2.0
        self.tail = math.exp(self._tail_log)

    def _set(self, fixed: float, row: float) -> None:
        self.fixed_us, self.row_us = fixed, row
        self.tail = tail = math.exp(self._tail_log)
        self.fixed_p99_us, self.row_p99_us = fixed * tail, row * tail


class ReducedLine(_Line):
    """The cost of a reduced variant: what the whole one costs, less a saving of each row that is known.

    All else, commits above all, the two have in common: a batch of either teaches both. A line of its own would be a guess until
    the first time of need.

    Attributes:
        saved_row_us: the saving; the owner sets it when another program comes.
        batches: how many were observed of this variant.
    """

    __slots__ = ("_whole", "batches", "saved_row_us")

    def __init__(self, whole: OnlineLine, saved_row_us: float = 0.0) -> None:
        self._whole, self.saved_row_us, self.batches = whole, saved_row_us, 0

    @property
    def fixed_us(self) -> float:  # type: ignore[override]
        return self._whole.fixed_us

    @property
    def row_us(self) -> float:  # type: ignore[override]
        return max(self._whole.row_us - self.saved_row_us, 0.0)

    @property
    def fixed_p99_us(self) -> float:  # type: ignore[override]
        return self._whole.fixed_p99_us

    @property
    def row_p99_us(self) -> float:  # type: ignore[override]
        return self.row_us * self._whole.tail

    @property
    def tail(self) -> float:
        return self._whole.tail

    def observe(self, rows: int, took_us: float) -> None:
        """Learn from a batch of this variant: the whole program would have taken the saving longer."""
        self.batches += 1
        self._whole.observe(rows, took_us + self.saved_row_us * rows)

    def follow(self, old: OnlineLine, new: OnlineLine) -> None:
        """Follow another line from now on, if `old` is the one that is followed."""
        if self._whole is old:
            self._whole = new


class CostModel:
    """The lines of every device and variant, each fitted by itself, but for reduced ones that follow another."""

    def __init__(self, lines: Iterable[tuple[str, str, CostLine]]) -> None:
        """Start from (device, variant, line) as measured, for instance by inference_core.runtime.measure_costs."""
        self._lines: dict[tuple[str, str], OnlineLine | ReducedLine] = {}
        for device, variant, line in lines:
            if (device, variant) in self._lines:
                raise SchedulingError(f"two cost lines for {device} {variant}; give one")
            self._lines[device, variant] = OnlineLine(line)
        if not self._lines:
            raise SchedulingError("a cost model needs a line for at least one device; measure one with runtime.measure_costs")

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices, in the order given."""
        return tuple(dict.fromkeys(device for device, _ in self._lines))

    def variants(self, device: str) -> tuple[str, ...]:
        """Return the program variants of a device, in the order given."""
        return tuple(variant for of, variant in self._lines if of == device)

    def line(self, device: str, variant: str) -> OnlineLine | ReducedLine:
        """Return the line.

        Raises:
            SchedulingError: there is none.
        """
        try:
            return self._lines[device, variant]
        except KeyError:
            known = ", ".join(f"{of} {v}" for of, v in self._lines)
            raise SchedulingError(f"no cost line for {device} {variant}; there are {known}") from None

    def add_reduced(self, device: str, variant: str, whole: str) -> ReducedLine:
        """Add a variant that costs what `whole` does, less a saving, and return its line.

        Raises:
            SchedulingError: the variant is there already, or there is no whole one that is fitted by itself.
        """
        of = self.line(device, whole)
        if (device, variant) in self._lines or not isinstance(of, OnlineLine):
            raise SchedulingError(f"{device} {variant} is there already, or {whole} is a reduced variant itself")
        self._lines[device, variant] = added = ReducedLine(of)
        return added

    def replace(self, device: str, variant: str, line: CostLine) -> None:
        """Start a line anew, as after another program was swapped in."""
        old, new = self.line(device, variant), OnlineLine(line)
        self._lines[device, variant] = new
        for other in self._lines.values():
            if isinstance(other, ReducedLine) and isinstance(old, OnlineLine):
                other.follow(old, new)
