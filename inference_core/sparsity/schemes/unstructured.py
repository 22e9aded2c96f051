"""Any weight may go."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inference_core.sparsity.schemes.base import PruningScheme, lowest


@dataclass(frozen=True)
class Unstructured(PruningScheme):
    """Single weights: the least loss of quality for a share of zeros, and the least gain in time."""

    exchangeable = True

    def mask(self, scores: torch.Tensor, sparsity: float) -> torch.Tensor:
        return ~lowest(scores, round(sparsity * scores.numel()))

    def allows(self, weight: torch.Tensor) -> bool:
        return True

    @classmethod
    def examples(cls) -> list[PruningScheme]:
        return [cls()]
