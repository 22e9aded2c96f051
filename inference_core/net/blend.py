"""How forest and net become one margin."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inference_core.errors import ProgramError


@dataclass(frozen=True)
class Blend:
    """margin = forest_weight * forest margin + net_weight * net logit + offset; the program's calibration comes after it.

    Without the net (the reduced program) the forest's margin stands in for the net's logit, since both estimate the same
    log-odds: (forest_weight + net_weight) * forest margin + offset.
    """

    forest_weight: float
    net_weight: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.forest_weight, self.net_weight, self.offset))):
            raise ProgramError(f"the numbers of a blend must be finite; got {self}")
        if self.forest_weight < 0 or self.net_weight < 0 or self.reduced_weight <= 0:
            raise ProgramError(f"the weights of a blend must not be negative, nor both zero; got {self}")

    @property
    def reduced_weight(self) -> float:
        """What the forest's margin is multiplied by where the net does not run."""
        return self.forest_weight + self.net_weight
