"""The net on bins, layer by layer, for all members of all rows."""

from __future__ import annotations

import numpy as np

from kernels.net_margin.table import LARGEST_ACTIVATION, NetTable, NetTableLayer


def table_rows(net: NetTable, bins: np.ndarray) -> np.ndarray:
    """Return [C, B] int64, the row of `first` that each feature reads."""
    ranks = np.array([net.rank[read, bins[column]] for read, column in enumerate(net.column)], np.int64)
    return np.minimum(net.offset[:-1, None] + np.add.reduceat(ranks, net.reads[:-1], axis=0), net.offset[1:, None] - 1)


def activations(net: NetTable, bins: np.ndarray) -> list[np.ndarray]:
    """Return what each layer gives, [B, K, O] uint8."""
    sums = net.first[table_rows(net, bins)].sum(axis=0, dtype=np.int32)
    given = [_activate(sums[:, None, :], net.layers[0])]
    for layer in net.layers[1:]:
        # a table's sums stay below 2**24, where float32 is exact in any order: far quicker than NumPy's product of integers
        sums = given[-1].astype(np.float32) @ layer.weight.astype(np.float32)
        given.append(_activate(sums.astype(np.int32), layer))
    return given


def net_totals(net: NetTable, bins: np.ndarray) -> np.ndarray:
    """Return [B] int32; see the package for the contract."""
    return (activations(net, bins)[-1].astype(np.int32) * net.head).sum(axis=(1, 2), dtype=np.int32)


def _activate(sums: np.ndarray, layer: NetTableLayer) -> np.ndarray:
    with np.errstate(over="ignore"):
        scaled = (sums + layer.bias).astype(np.float32) * layer.scale
    given = np.clip(np.rint(scaled), 0, LARGEST_ACTIVATION).astype(np.uint8)
    return np.where(given < layer.threshold, np.uint8(0), given)
