"""Rounding that gradients pass."""

from __future__ import annotations

import torch


def round_through(x: torch.Tensor) -> torch.Tensor:
    """Return x rounded (half to even), with the gradient of x itself (straight-through; Bengio et al. 2013)."""
    return _RoundThrough.apply(x)


class _RoundThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return gradient
