"""What training makes small: every member's cross-entropy, and pairs of the ensemble that stand in the wrong order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

# Puts the mean over pairs, near 1 at first, on the scale of the cross-entropy of rare frauds.
_PAIR_SCALE = 0.05


@dataclass(frozen=True)
class LossWeights:
    """Attributes:
    fraud: how much a fraud counts against an honest row in the cross-entropy.
    ranking: weight of the pairs (Burges et al. 2005, RankNet); they raise the area under the ROC curve, where cross-entropy
        of few frauds leaves the tail of the ranking to chance.
    activity: weight of the mean activation, which makes more of them zero (L1; Glorot et al. 2011).
    """

    fraud: float = 3.0
    ranking: float = 1.0
    activity: float = 0.0


def training_loss(logits: torch.Tensor, labels: torch.Tensor, row_weights: torch.Tensor, weights: LossWeights) -> torch.Tensor:
    """Return the loss of logits [B, K] for labels [B] of 0 and 1; each member answers for itself, as in TabM."""
    counts = row_weights * torch.where(labels > 0, weights.fraud, 1.0)
    each = functional.binary_cross_entropy_with_logits(logits, labels[:, None].expand_as(logits), reduction="none")
    loss = (each.mean(1) * counts).sum() / row_weights.sum()
    if weights.ranking:
        loss = loss + weights.ranking * _PAIR_SCALE * ranking_loss(logits.mean(1), labels, row_weights)
    return loss


def ranking_loss(logits: torch.Tensor, labels: torch.Tensor, row_weights: torch.Tensor) -> torch.Tensor:
    """Return the mean over pairs (fraud, honest row) of ln(1 + exp(honest - fraud)); 0 where there is no pair."""
    honest = row_weights * (labels <= 0)
    frauds = logits[labels > 0]
    if not len(frauds) or not bool(honest.any()):
        return logits.sum() * 0.0
    pairs = functional.softplus(logits[None, :] - frauds[:, None]) * honest
    return pairs.sum() / (len(frauds) * honest.sum())
