"""Ridge regression that learns one case at a time: the reward model of LinUCB (Li et al. 2010), with forgetting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from inference_core.errors import SchedulingError

_RIDGE = 1.0
# Forgetting stops where a direction has not been seen for so long that its uncertainty would grow without bound.
_MOST_UNCERTAIN = 4.0


class LinearCost:
    """cost ~ weights . context, with the uncertainty of each prediction. A few dozen numbers in plain lists.

    Attributes:
        seen: cases learned.
        variance: of what the line does not explain.
    """

    __slots__ = ("_forgetting", "_inverse", "_weights", "seen", "variance")

    def __init__(self, size: int, forgetting: float = 0.9995) -> None:
        self._inverse = [[1.0 / _RIDGE if i == j else 0.0 for j in range(size)] for i in range(size)]
        self._weights = [0.0] * size
        self._forgetting = forgetting
        self.seen, self.variance = 0, 0.25

    def mean(self, context: Sequence[float]) -> float:
        """Return the expected cost."""
        return sum(w * x for w, x in zip(self._weights, context, strict=True))

    def deviation(self, context: Sequence[float]) -> float:
        """Return the standard error of mean(context)."""
        return math.sqrt(max(0.0, self.variance * sum(x * p for x, p in zip(context, self._times(context), strict=True))))

    def learn(self, context: Sequence[float], cost: float, weight: float = 1.0) -> None:
        """Learn one case: Sherman and Morrison's update of the inverse."""
        inverse, direction = self._inverse, self._times(context)
        scale = 1.0 / weight + sum(x * p for x, p in zip(context, direction, strict=True))
        error = cost - self.mean(context)
        self.seen += 1
        # The first errors tell how wrong the start was, and nothing about the noise.
        if self.seen > 50:
            self.variance += 0.01 * (error * error / (weight * scale) - self.variance)
        gain = error / scale
        forget = self._forgetting
        if max(row[i] for i, row in enumerate(inverse)) > _MOST_UNCERTAIN:
            forget = 1.0
        keep = 1.0 / forget
        self._weights = [w + gain * p for w, p in zip(self._weights, direction, strict=True)]
        self._inverse = [
            [(entry - q * other) * keep for entry, other in zip(row, direction, strict=True)]
            for row, q in zip(inverse, [p / scale for p in direction], strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "weights": [round(w, 6) for w in self._weights],
            "inverse": [[float(f"{p:.6g}") for p in row] for row in self._inverse],
            "seen": self.seen,
            "variance": round(self.variance, 6),
        }

    @classmethod
    def from_json(cls, of: dict[str, Any], size: int) -> LinearCost:
        """Return what to_json gave.

        Raises:
            SchedulingError: it is not one, or of another size.
        """
        try:
            weights = [float(w) for w in of["weights"]]
            inverse = [[float(p) for p in row] for row in of["inverse"]]
            seen, variance = int(of["seen"]), float(of["variance"])
        except (KeyError, TypeError, ValueError) as error:
            raise SchedulingError(f"a learned cost line is damaged ({error!r}); train the policy again") from None
        numbers = [*weights, *(p for row in inverse for p in row), variance]
        if len(weights) != size or [len(row) for row in inverse] != [size] * size or not all(map(math.isfinite, numbers)):
            raise SchedulingError(f"a learned cost line needs {size} finite weights and a square of them; train the policy again")
        line = cls(size)
        line._weights, line._inverse, line.seen, line.variance = weights, inverse, seen, max(variance, 1e-6)
        return line

    def _times(self, context: Sequence[float]) -> list[float]:
        # Half of a context is zeros: the ends of piecewise linear functions. The inverse is symmetric: its rows are its columns.
        present = [(x, row) for x, row in zip(context, self._inverse, strict=True) if x]
        if not present:
            return [0.0] * len(context)
        return [sum(parts) for parts in zip(*([x * p for p in row] for x, row in present), strict=True)]
