"""How far the integers may lie away from the same net in float32: a bound for each row, before anything is compared."""

from __future__ import annotations

import numpy as np
import torch

from inference_core.modalities.tabular import TabularNet


@torch.no_grad()
def declared_drift(net: TabularNet, bins: np.ndarray) -> np.ndarray:
    """Return [n] by how much log-odds of rows with these bins [n, C] can change by rounding, at most.

    Every weight and bias is off by half a unit at most and every activation by half a step; how that is passed on follows
    from the weights. It holds where no activation lies beyond the steps' range and no threshold is set; beyond that, rows are
    cut on purpose.
    """
    rows = torch.from_numpy(bins).to(net.increments.device)
    given = net(rows)[1]
    increments = net.expanded_increments()
    unit = net.column_units(increments)
    # as many roundings as increments are switched on, and one of the bias
    error = (net.encoded(rows).sum(1, keepdim=True) + 1) * unit / 2
    error = _activation(net, 0, error[None])
    for layer, weight in enumerate(net.weights, start=1):
        unit = net.column_units(weight)
        below = given[layer - 1]
        sums = (below + error).sum(2, keepdim=True) * unit / 2 + error @ weight.abs() + unit * net.steps[layer - 1] / 2
        error = _activation(net, layer, sums)
    head = net.head[:, None]
    largest = ((given[-1] + error) * net.head_unit() / 2 + error * head.abs()).sum(2)
    return largest.mean(0).double().cpu().numpy()


def _activation(net: TabularNet, layer: int, sums: torch.Tensor) -> torch.Tensor:
    """Return the error of activations [K, B, O] whose sums are off by `sums`."""
    return net.scale[layer][:, None].abs() * sums + net.steps[layer] / 2
