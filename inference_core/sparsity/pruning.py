"""Pruning by magnitude at a threshold, and the threshold that a share of zeros asks for."""

from __future__ import annotations

import torch


def dynamic_pruning(weight: torch.Tensor, threshold: float | torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return the weight with every value of a magnitude below the threshold set to zero, and the share of zeros in it.

    Args:
        weight: any shape, floating or integer; left as it is. Gradients flow to the values that are kept.
        threshold: a number, or a tensor that broadcasts against weight: [out, 1] is one threshold for each output. A value
            exactly at the threshold is kept, and so is NaN, which a caller should see rather than lose.

    Returns:
        The pruned weight, of the same shape and dtype, and its share of zeros from 0 to 1 (those that were there before
        included; 0 for a weight without elements).

    Raises:
        ValueError: a threshold is negative or NaN.
    """
    limit = torch.as_tensor(threshold, device=weight.device)
    if not bool((limit >= 0).all()):
        raise ValueError("threshold must be 0 or more everywhere; a negative or NaN threshold prunes nothing by accident")
    # The magnitude of the smallest integer does not fit its own type: |-128| in int8.
    magnitude = weight.abs() if weight.is_floating_point() else weight.long().abs()
    pruned = torch.where(magnitude < limit, torch.zeros((), dtype=weight.dtype, device=weight.device), weight)
    return pruned, sparsity_of(pruned)


def quantile_threshold(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return the smallest threshold below which at least `sparsity` of the scores lie (fewer where scores are equal to it).

    dynamic_pruning(weight, quantile_threshold(weight.abs(), s)) zeroes the s smallest magnitudes of a layer.

    Args:
        scores: any shape, at least one element, none NaN.
        sparsity: from 0 to 1; 1 gives infinity, below which everything lies.

    Raises:
        ValueError: sparsity is outside of 0 to 1, or there are no scores.
    """
    if not 0 <= sparsity <= 1 or scores.numel() == 0:
        raise ValueError(f"sparsity must be from 0 to 1 and scores not empty; got {sparsity} and {scores.numel()} scores")
    count = round(sparsity * scores.numel())
    if count == scores.numel():
        return torch.tensor(float("inf"), device=scores.device)
    # The (count + 1)-th smallest: it is kept, and what is smaller is not. torch.quantile takes at most 2^24 elements.
    return torch.kthvalue(scores.detach().reshape(-1).float(), count + 1).values


def sparsity_of(weight: torch.Tensor) -> float:
    """Return the share of zeros, 0 for a tensor without elements."""
    return 1.0 - int(torch.count_nonzero(weight)) / weight.numel() if weight.numel() else 0.0
