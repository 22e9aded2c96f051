"""What a weight is worth to its layer: the less, the sooner it is pruned."""

from __future__ import annotations

from enum import Enum

import torch
from torch import nn


class Importance(Enum):
    """How the scores of a layer come about.

    Attributes:
        MAGNITUDE: |w|.
        INPUT_SCALED: |w| times the root mean square of the input that it multiplies (Wanda; Sun et al. 2023, which scales by
            the norm: the same order within a layer).
        GRADIENT: |w x gradient|, the first-order change of the loss when the weight goes (Molchanov et al. 2017); averaged
            over the steps since the last choice, since one batch's gradient is noise.
    """

    MAGNITUDE = "magnitude"
    INPUT_SCALED = "input_scaled"
    GRADIENT = "gradient"


class InputScale:
    """Running mean of squares of each input of a linear layer or convolution, taken as training passes through it."""

    def __init__(self, module: nn.Linear | nn.Conv2d, memory: float = 0.9) -> None:
        """Args: memory: how much of the mean the next batch leaves as it is."""
        self._memory, self._square = memory, None
        self._hook = module.register_forward_pre_hook(self._see)

    def _see(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if not module.training:
            return
        x = inputs[0].detach().float()
        channel = x.ndim - 1 if isinstance(module, nn.Linear) else 1
        square = x.square().mean([axis for axis in range(x.ndim) if axis != channel])
        self._square = square if self._square is None else torch.lerp(square, self._square, self._memory)

    def scores(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the scores of a weight [out, in] or [out, in / groups, h, w]; its magnitudes before anything was seen."""
        if self._square is None:
            return weight.detach().abs()
        scale = self._square.sqrt().to(weight.dtype)
        groups = len(scale) // weight.shape[1]
        by_output = scale.reshape(groups, weight.shape[1]).repeat_interleave(weight.shape[0] // groups, dim=0)
        return weight.detach().abs() * by_output.reshape(*by_output.shape, *[1] * (weight.ndim - 2))

    def close(self) -> None:
        self._hook.remove()


class GradientScale:
    """Mean of |w x gradient| over the steps since the last choice."""

    def __init__(self) -> None:
        self._sum: torch.Tensor | None = None

    def see(self, weight: nn.Parameter) -> None:
        """Take in the gradient that the last backward pass left."""
        if weight.grad is not None:
            now = (weight.detach() * weight.grad).abs()
            self._sum = now if self._sum is None else self._sum.add_(now)

    def scores(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the scores, and begin anew; the magnitudes where no gradient was seen."""
        scores, self._sum = self._sum, None
        return weight.detach().abs() if scores is None else scores
