"""From a net that was trained in the integers' own rounding to those integers."""

from __future__ import annotations

import copy

import numpy as np
import torch

from inference_core.modalities.tabular import TabularNet
from inference_core.net.quantised import NetLayer, QuantisedNet


@torch.no_grad()
def export_net(net: TabularNet, centre_bins: np.ndarray | None = None) -> QuantisedNet:
    """Return the net as integers; its logits are those of net.logits(bins, quantised=True).

    Args:
        centre_bins: [n, C] uint8 of training rows, over which the mean total is taken; it is 0 without them.

    Raises:
        ValueError: the net was never calibrated.
        ProgramError: the integers do not fit (see QuantisedNet); the message says which.
    """
    if not bool((net.steps > 0).all()):
        raise ValueError("the net must be calibrated before it is exported")
    net = copy.deepcopy(net).cpu()
    increments = net.expanded_increments()
    first_unit = net.column_units(increments)
    starts = np.cumsum([len(edges) + 1 for edges in net.encoding.edges])[:-1]
    by_feature = np.split(_whole(net.rounded(increments, first_unit)), starts)
    layers = []
    for layer, weight in enumerate(net.weights, start=1):
        unit = net.column_units(weight)
        sums_unit = unit * net.steps[layer - 1]
        layers.append(
            NetLayer(_whole(net.rounded(weight, unit)), _bias(net, layer, sums_unit), _scale(net, layer, sums_unit),
                     int(net.thresholds[layer]))
        )  # fmt: skip
    return QuantisedNet(
        feature_names=net.encoding.feature_names,
        edges=net.encoding.edges,
        first=np.concatenate([_table_of(of) for of in by_feature]),
        first_bias=_bias(net, 0, first_unit),
        first_scale=_scale(net, 0, first_unit),
        first_threshold=int(net.thresholds[0]),
        layers=tuple(layers),
        head=_whole(net.rounded(net.head, net.head_unit())),
        unit=float(net.head_unit() * net.steps[-1]) / net.shape.members,
        base=float(net.head_bias.mean()),
        centre=0 if centre_bins is None else round(float(_totals(net, centre_bins).mean())),
    )


def _table_of(increments: np.ndarray) -> np.ndarray:
    """Return [E + 2, H] of a feature's increments [E + 1, H]: its bins 0 .. E, and the row of a missing value."""
    passed = np.cumsum(increments[:-1], axis=0, dtype=np.int32)
    return np.concatenate([np.zeros_like(increments[:1]), passed, increments[-1:]])


def _whole(weight: torch.Tensor) -> np.ndarray:
    return weight.numpy().astype(np.int32)


def _bias(net: TabularNet, layer: int, unit: torch.Tensor) -> np.ndarray:
    return torch.round(net.bias[layer] / unit).numpy().astype(np.int32)


def _scale(net: TabularNet, layer: int, unit: torch.Tensor) -> np.ndarray:
    return net.integer_scale(layer, unit).numpy()


def _totals(net: TabularNet, bins: np.ndarray) -> np.ndarray:
    unit = float(net.head_unit() * net.steps[-1]) / net.shape.members
    return (net.logits(bins, quantised=True) - float(net.head_bias.mean())) / unit
