"""Connections that come back: the weakest make room for those that the loss asks for (RigL; Evci et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Regrowth:
    """Attributes:
    share: of the kept weights that are exchanged at the first exchange; it falls to zero along a cosine until last_step.
    every: steps from one exchange to the next.
    last_step: no exchange after it, so that what came back has time to settle.
    """

    last_step: int
    share: float = 0.3
    every: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.every < 1 or self.last_step < 1:
            raise ValueError(f"share must lie between 0 and 1, every and last_step be positive; got {self}")

    def exchanges_at(self, step: int) -> bool:
        return 0 < step <= self.last_step and step % self.every == 0

    def share_at(self, step: int) -> float:
        return self.share / 2 * (1 + math.cos(math.pi * step / self.last_step))


def exchange(keep: torch.Tensor, scores: torch.Tensor, gradient: torch.Tensor, share: float) -> torch.Tensor:
    """Return a mask with as many kept weights, `share` of them exchanged.

    The kept ones of the lowest score go; those of the largest |gradient| come, out of all that were pruned before. The
    caller sets what came to zero, so that the function of the net is unchanged by them.

    Args:
        keep: bool; scores, gradient: of the same shape.
    """
    kept, flat = keep.reshape(-1), scores.reshape(-1)
    count = min(int(share * int(kept.sum())), int((~kept).sum()))
    if count == 0:
        return keep
    infinity = float("inf")
    going = torch.where(kept, flat.float(), infinity).argsort(stable=True)[:count]
    coming = torch.where(kept, -infinity, gradient.reshape(-1).float().abs()).argsort(stable=True, descending=True)[:count]
    changed = kept.clone()
    changed[going], changed[coming] = False, True
    return changed.reshape(keep.shape)
