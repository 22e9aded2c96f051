"""Two of every four neighbouring inputs, the pattern that NVIDIA's sparse tensor cores execute (Mishra et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from inference_core.sparsity.schemes.base import PruningScheme


@dataclass(frozen=True)
class TwoOfFour(PruningScheme):
    """At most two weights of each group of four neighbouring inputs; inputs that fill no group count as a group with zeros."""

    def mask(self, scores: torch.Tensor, sparsity: float) -> torch.Tensor:
        """Return the mask; the pattern is one half or nothing: below a quarter, nothing is pruned."""
        if sparsity < 0.25:
            return torch.ones_like(scores, dtype=torch.bool)
        matrix = scores.reshape(len(scores), -1)
        groups = functional.pad(matrix.float(), (0, -matrix.shape[1] % 4), value=float("-inf")).reshape(len(matrix), -1, 4)
        keep = torch.zeros_like(groups, dtype=torch.bool)
        keep.scatter_(2, groups.argsort(dim=2, descending=True, stable=True)[..., :2], True)
        return keep.reshape(len(matrix), -1)[:, : matrix.shape[1]].reshape(scores.shape)

    def allows(self, weight: torch.Tensor) -> bool:
        matrix = (weight != 0).reshape(len(weight), -1)
        groups = functional.pad(matrix, (0, -matrix.shape[1] % 4)).reshape(len(matrix), -1, 4)
        return bool((groups.sum(dim=2) <= 2).all())

    @classmethod
    def examples(cls) -> list[PruningScheme]:
        return [cls()]
