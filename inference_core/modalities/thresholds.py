"""Activations that are too small to matter count as zero, so that their weights need not be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from inference_core.modalities.tabular import TabularNet

_CANDIDATES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Sparsity:
    """Attributes:
    activations: share of zeros that each layer gives.
    multiplications: share of the multiplications behind the first layer that meet a zero, of all members together.
    quads: the same where a group of four neighbouring inputs is skipped only as a whole, as the kernels do.
    """

    activations: tuple[float, ...]
    multiplications: float
    quads: float


def calibrate_thresholds(net: TabularNet, bins: np.ndarray, judge: Callable[[np.ndarray], float], allowed: float) -> float:
    """Set the net's thresholds, layer by layer, as high as the judgement of these rows allows; return the judgement.

    TEAL (Liu et al. 2024, arXiv 2408.14690) cuts by magnitude and layer as well; here what is lost is measured where it counts.

    Args:
        bins: [n, C] uint8 of tune rows. judge: from log-odds [n] to a figure, larger is better.
        allowed: relative loss of the judgement for all layers together.
    """
    net.thresholds.zero_()
    least = judge(net.logits(bins, quantised=True)) * (1 - allowed)
    for layer in range(len(net.thresholds)):
        for candidate in _CANDIDATES:
            before = float(net.thresholds[layer])
            net.thresholds[layer] = candidate
            if judge(net.logits(bins, quantised=True)) < least:
                net.thresholds[layer] = before
                break
    return judge(net.logits(bins, quantised=True))


@torch.no_grad()
def activation_sparsity(net: TabularNet, bins: np.ndarray) -> Sparsity:
    """Return what share of the work one row at a time can leave out, over rows of these bins [n, C]."""
    given = net(torch.from_numpy(bins).to(net.increments.device), quantised=True)[1]
    outputs = [*net.shape.hidden, 1]
    work = [of.shape[2] * to for of, to in zip(given, outputs, strict=True)]
    zeros = [float((of == 0).double().mean()) for of in given]
    quads = [float((of.reshape(*of.shape[:2], -1, 4) == 0).all(3).double().mean()) for of in given]
    total = sum(work)
    return Sparsity(
        tuple(zeros),
        sum(share * of for share, of in zip(zeros, work, strict=True)) / total,
        sum(share * of for share, of in zip(quads, work, strict=True)) / total,
    )
