"""Whether one policy is better or worse than another on the same seeds, and by how much."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % points of Student's t by degrees of freedom.
_T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 14: 2.145, 19: 2.093, 29: 2.045}  # noqa: E501


@dataclass(frozen=True)
class Difference:
    """A paired difference, policy less reference, with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """Whether it is above zero beyond the interval."""
        return self.low > 0

    @property
    def better(self) -> bool:
        """Whether it is below zero beyond the interval."""
        return self.high < 0


def paired(policy: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return the mean difference over seeds with Student's 95 % interval; at least two seeds."""
    differences = [a - b for a, b in zip(policy, reference, strict=True)]
    mean, freedom = statistics.fmean(differences), len(differences) - 1
    t = _T95[max(known for known in _T95 if known <= freedom)]
    half = t * statistics.stdev(differences) / math.sqrt(len(differences))
    return Difference(mean, mean - half, mean + half)
