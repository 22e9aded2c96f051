"""Bytes of the parameters in each way of keeping them, index and scales counted."""

from __future__ import annotations

import numpy as np
import torch

from inference_core.modalities import TabularNet
from inference_core.modalities.finishing import prunable
from inference_core.net import QuantisedNet
from inference_core.sparsity import FORMATS, stored_bytes


def bytes_of(net: TabularNet, exported: QuantisedNet) -> dict[str, int]:
    """Return the bytes of a pruned net: dense and sparse in float32, dense and sparse in int8.

    A sparse weight is kept with a bitmap or with gaps, whichever is smaller. Members' biases, scales and heads are whole in
    every row: in float32, and in int8 as the export keeps them (int32 biases, float32 scales, int8 heads).
    """
    weights = {name: weight.detach().cpu() for name, weight in prunable(net).items()}
    others = sum(p.numel() for p in net.parameters()) - sum(of.numel() for of in weights.values())
    integers = {"increments": _increments(exported)}
    integers |= {f"hidden{i}": torch.from_numpy(layer.weight.copy()) for i, layer in enumerate(exported.layers)}
    small = [exported.first_bias, exported.first_scale, exported.head]
    small += [of for layer in exported.layers for of in (layer.bias, layer.scale)]
    kept = sum(of.nbytes for of in small)
    return {
        "float32": 4 * sum(p.numel() for p in net.parameters()),
        "float32 pruned": _packed(weights) + 4 * others,
        "int8": sum(of.numel() for of in integers.values()) + kept,
        "int8 pruned": _packed(integers) + kept,
    }


def _packed(weights: dict[str, torch.Tensor]) -> int:
    forms = [FORMATS[name] for name in ("bitmap", "gaps")]
    packed = {name: min((form.pack(of) for form in forms), key=lambda it: it.stored_bytes) for name, of in weights.items()}
    return stored_bytes(packed)


def _increments(exported: QuantisedNet) -> torch.Tensor:
    """Return [rows, H] int8, what the table of the first layer is the running sum of, feature by feature."""
    parts = []
    for start, end in zip(exported.offsets[:-1], exported.offsets[1:], strict=True):
        table = exported.first[start:end].astype(np.int32)
        parts += [np.diff(table[:-1], axis=0), table[-1:]]
    return torch.from_numpy(np.concatenate(parts).astype(np.int8))
