"""What every pruning scheme can do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch


class PruningScheme(ABC):
    """A pattern of zeros.

    Attributes:
        exchangeable: whether single weights may be exchanged (regrowth) without breaking the pattern.
    """

    exchangeable = False

    @abstractmethod
    def mask(self, scores: torch.Tensor, sparsity: float) -> torch.Tensor:
        """Return bool of the shape of scores, True where a weight is kept: those of the highest scores that the pattern allows.

        Args:
            scores: importance of each weight, [out, ...]; all but the first axis count as one, of inputs. None may be NaN.
            sparsity: share of zeros that is asked for, 0 to 1; the pattern's own nearest is given.
        """

    @abstractmethod
    def allows(self, weight: torch.Tensor) -> bool:
        """Return whether the zeros of a weight follow the pattern."""

    @classmethod
    @abstractmethod
    def examples(cls) -> list[PruningScheme]:
        """Return instances for the contract suite."""


def as_matrix(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight as [outputs, inputs]; of a convolution, the channels of one place of the window stand together."""
    return weight.movedim(1, -1).reshape(len(weight), -1)


def from_matrix(matrix: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Undo as_matrix for a weight of this shape."""
    return matrix.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def lowest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return bool of the shape of scores, True for exactly `count` of the lowest; ties go to the earlier element."""
    chosen = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    chosen[scores.reshape(-1).argsort(stable=True)[:count]] = True
    return chosen.reshape(scores.shape)
