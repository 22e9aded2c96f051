"""How much of a layer is zero at which training step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PruningSchedule:
    """From no zeros to many along a cubic curve: fast while weights are plenty, slow at the end (Zhu and Gupta 2017).

    Attributes:
        first_step, last_step: training steps at which pruning begins and at which the final sparsity is reached.
        final_sparsity: share of zeros from last_step on, 0 to below 1.
        initial_sparsity: share of zeros at first_step.
        every: steps from one choice of weights to the next; between two of them the zeros stay where they are.
    """

    first_step: int
    last_step: int
    final_sparsity: float
    initial_sparsity: float = 0.0
    every: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.first_step < self.last_step or self.every < 1:
            raise ValueError(
                f"steps must satisfy 0 <= first_step < last_step and every >= 1; "
                f"got {self.first_step}, {self.last_step}, {self.every}"
            )
        if not 0 <= self.initial_sparsity <= self.final_sparsity < 1:
            raise ValueError(
                f"sparsities must satisfy 0 <= initial <= final < 1; got {self.initial_sparsity}, {self.final_sparsity}"
            )

    def sparsity_at(self, step: int) -> float:
        """Return the share of zeros that a layer should have after this step."""
        if step < self.first_step:
            return 0.0
        left = max(0.0, 1 - (step - self.first_step) / (self.last_step - self.first_step))
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * left**3

    def chooses_at(self, step: int) -> bool:
        """Return whether the zeros are chosen anew at this step; the last one always is such a step."""
        if not self.first_step <= step <= self.last_step:
            return False
        return step == self.last_step or (step - self.first_step) % self.every == 0
