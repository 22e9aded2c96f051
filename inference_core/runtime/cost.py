"""What a batch costs on each variant that can run it: a line a + b n, measured, and the choice by those lines."""

from __future__ import annotations

import math
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inference_core.errors import ProgramError

# Sizes at which a variant is timed, as far as the budget of time goes.
CALIBRATION_ROWS = (1, 4, 16, 64, 256, 1024, 4096)
_REPEATS = 7
_BUDGET_SECONDS = 0.02


@dataclass(frozen=True)
class CostLine:
    """The expected time of n rows: `fixed_us + row_us * n`, in microseconds, neither below zero."""

    variant: str
    fixed_us: float
    row_us: float

    def __post_init__(self) -> None:
        if not (0 <= self.fixed_us < math.inf and 0 <= self.row_us < math.inf):
            raise ProgramError(f"the cost line of {self.variant} must be finite and not negative; measure it again")

    def at(self, rows: float) -> float:
        """Return the expected microseconds for a batch of `rows`."""
        return self.fixed_us + self.row_us * rows


@dataclass(frozen=True)
class CostTable:
    """The lines of several variants, and the hardware that they were measured on."""

    hardware: str
    lines: tuple[CostLine, ...]

    def __post_init__(self) -> None:
        if not self.lines or len({line.variant for line in self.lines}) != len(self.lines):
            raise ProgramError("a cost table needs one line for each variant; measure it again")
        object.__setattr__(self, "_envelope", _lower_envelope(self.lines))

    def choose(self, rows: int) -> CostLine:
        """Return the cheapest line for a batch of `rows`."""
        starts, lines = self._envelope  # type: ignore[attr-defined]
        return lines[bisect_right(starts, rows) - 1]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; figures keep three digits after the point, a nanosecond."""
        lines = [{"variant": of.variant, "fixed_us": round(of.fixed_us, 3), "row_us": round(of.row_us, 6)} for of in self.lines]
        return {"hardware": self.hardware, "lines": lines}

    @classmethod
    def from_json(cls, of: dict[str, Any]) -> CostTable:
        """Return the table that to_json gave.

        Raises:
            ProgramError, KeyError, TypeError, ValueError: it is not one.
        """
        lines = [CostLine(str(line["variant"]), float(line["fixed_us"]), float(line["row_us"])) for line in of["lines"]]
        return cls(str(of["hardware"]), tuple(lines))


def fit_line(variant: str, rows: Sequence[int], microseconds: Sequence[float]) -> CostLine:
    """Return the non-negative line that fits best, by least squares of the relative error, so that small batches count.

    Two unknowns need no solver: where the free solution has a negative part, the best one lies on an edge (Lawson and
    Hanson 1974, "Solving Least Squares Problems", chapter 23).
    """
    if not rows or len(rows) != len(microseconds) or min(microseconds) <= 0:
        raise ProgramError(f"timings of {variant} must be positive, one a size")
    weight = [us**-2.0 for us in microseconds]
    s = sum(weight)
    sn = sum(w * n for w, n in zip(weight, rows, strict=True))
    snn = sum(w * n * n for w, n in zip(weight, rows, strict=True))
    sy = sum(w * us for w, us in zip(weight, microseconds, strict=True))
    sny = sum(w * n * us for w, n, us in zip(weight, rows, microseconds, strict=True))
    determinant = s * snn - sn * sn
    if determinant > 1e-9 * s * snn:
        fixed, row = (sy * snn - sn * sny) / determinant, (s * sny - sn * sy) / determinant
        if fixed >= 0 and row >= 0:
            return CostLine(variant, fixed, row)
    flat, through_zero = CostLine(variant, sy / s, 0.0), CostLine(variant, 0.0, sny / snn)
    return min(flat, through_zero, key=lambda of: _error(of, rows, microseconds, weight))


def measure(
    variant: str,
    run: Callable[[int], Any],
    rows: Iterable[int] = CALIBRATION_ROWS,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> CostLine:
    """Time `run(n)` at a few sizes, ascending, and return the line; the median of several runs counts.

    Sizes are left out once one of them has used up the budget of 20 ms.
    """
    sizes, medians = [], []
    for n in rows:
        run(n)  # the first time pays for pages and caches
        taken = []
        for _ in range(_REPEATS):
            began = clock()
            run(n)
            taken.append(clock() - began)
            if sum(taken) > _BUDGET_SECONDS * 1e9:
                break
        sizes.append(n)
        medians.append(max(statistics.median(taken), 1) / 1000)
        if sum(taken) > _BUDGET_SECONDS * 1e9:
            break
    return fit_line(variant, sizes, medians)


def _error(line: CostLine, rows: Sequence[int], microseconds: Sequence[float], weight: Sequence[float]) -> float:
    return sum(w * (line.at(n) - us) ** 2 for w, n, us in zip(weight, rows, microseconds, strict=True))


def _lower_envelope(lines: Sequence[CostLine]) -> tuple[list[float], list[CostLine]]:
    """Return where each of the cheapest lines begins, ascending from zero rows, and these lines."""
    starts, best, at = [0.0], [min(lines, key=lambda line: (line.fixed_us, line.row_us))], 0.0
    while True:
        here = best[-1]
        flatter = [(_crossing(here, line), line) for line in lines if line.row_us < here.row_us]
        if not flatter:
            return starts, best
        at, chosen = min(flatter, key=lambda of: (of[0], of[1].row_us))
        starts.append(at)
        best.append(chosen)


def _crossing(upper: CostLine, lower: CostLine) -> float:
    return (lower.fixed_us - upper.fixed_us) / (upper.row_us - lower.row_us)
