"""The net's table as tensors of a device, for gpu_triton.py. Needs torch when it is called, and not before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernels.net_margin.table import NetTable, NetTableLayer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class DeviceNetLayer:
    """A layer whose widths and members are padded to powers of two with zeros, which give activations of zero.

    Attributes:
        weight: [O, I] int8, transposed; empty in the first layer.
        bias: [K, O] int32.
        scale: [K, O] float32.
        threshold: activations below it count as zero.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    scale: torch.Tensor
    threshold: int


@dataclass(frozen=True, eq=False)
class DeviceNet:
    """Attributes:
    reads, column, rank, offset: as in NetTable.
    first: [rows, width] int16, padded as the layers are.
    layers: the first among them.
    head: [K, O] int8, padded.
    table: the NetTable itself.
    """

    reads: torch.Tensor
    column: torch.Tensor
    rank: torch.Tensor
    offset: torch.Tensor
    first: torch.Tensor
    layers: tuple[DeviceNetLayer, ...]
    head: torch.Tensor
    table: NetTable


def upload_net(table: NetTable, device: str | torch.device) -> DeviceNet:
    """Return a net on a device ("cuda", or "cpu" for Triton's interpreter)."""
    import torch

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array, order="C")).to(device)

    def layer(of: NetTableLayer) -> DeviceNetLayer:
        weight = np.zeros((0, 0), np.int8) if of.weight is None else _padded(of.weight.T)
        return DeviceNetLayer(tensor(weight), tensor(_padded(of.bias)), tensor(_padded(of.scale)), of.threshold)

    first = np.pad(table.first, ((0, 0), (0, _power(table.widths[0]) - table.widths[0])))
    return DeviceNet(
        *map(tensor, (table.reads, table.column, table.rank, table.offset, first)), tuple(map(layer, table.layers)),
        tensor(_padded(table.head)), table,
    )  # fmt: skip


def _padded(array: np.ndarray) -> np.ndarray:
    return np.pad(array, [(0, _power(size) - size) for size in array.shape])


def _power(size: int) -> int:
    return 1 << (size - 1).bit_length()
