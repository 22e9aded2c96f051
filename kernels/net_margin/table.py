"""The net in terms of the bin columns that forest and rules read too.

Shape letters: R reads, C features, H width of the first layer, K members, I inputs and O outputs of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kernels.errors import KernelInputError
from kernels.tables import made_once

WIDTH_STEP = 64
MAX_WIDTH = 512
MAX_MEMBERS = 32
MAX_LAYERS = 3
MAX_FEATURES = 1024
LARGEST_ACTIVATION = 127
EXACT = 1 << 24
"""Integers below this in size are exact in float32."""


@dataclass(frozen=True, eq=False)
class NetTableLayer:
    """Attributes:
    weight: [I, O] int8; None for the first layer, whose sums are looked up.
    bias: [K, O] int32.
    scale: [K, O] float32, finite.
    threshold: activations below it count as zero.
    """

    weight: np.ndarray | None
    bias: np.ndarray
    scale: np.ndarray
    threshold: int

    def __post_init__(self) -> None:
        kinds = {"bias": np.int32, "scale": np.float32} | ({} if self.weight is None else {"weight": np.int8})
        _freeze(self, **kinds)
        if self.bias.shape != self.scale.shape or self.bias.ndim != 2 or not np.isfinite(self.scale).all():
            raise KernelInputError("bias and scale must both be [K, O], and scales finite")
        width = self.bias.shape[1]
        if width % WIDTH_STEP or not 0 < width <= MAX_WIDTH or not 0 <= self.threshold <= LARGEST_ACTIVATION:
            raise KernelInputError(
                f"widths are multiples of {WIDTH_STEP} up to {MAX_WIDTH} and thresholds from 0 to {LARGEST_ACTIVATION}; "
                f"got {width} and {self.threshold}"
            )
        if self.weight is not None:
            reach = np.abs(self.weight.astype(np.int64)).sum(axis=0) * LARGEST_ACTIVATION
            if (reach + np.abs(self.bias.astype(np.int64))).max() >= EXACT:
                raise KernelInputError("sums before an activation must stay below 2**24, where float32 is exact")


@dataclass(frozen=True, eq=False)
class NetTable:
    """What the kernels of the net read. A feature's own bin is the sum of `rank` over the bin columns that it reads, at most
    that of its last row.

    Attributes:
        reads: [C + 1] int32; feature f reads the columns column[reads[f]:reads[f + 1]], at least one.
        column: [R] int32 bin columns.
        rank: [R, 256] uint8; how many of the feature's edges a bin of the column counts; 255 for a missing value.
        offset: [C + 1] int32 row of `first` at which each feature begins, and the number of rows.
        first: [sum(edges + 2), H] int16; the last row of a feature is that of a missing value.
        layers: the first layer, then each hidden one.
        head: [K, O] int8.
        multiplier, shift: what a total adds to a forest's sum of leaves: (total * multiplier + 2**(shift - 1)) >> shift.
        centre: the total from which the net's contribution is told.
        columns: rows that a bins array must at least have.
    """

    reads: np.ndarray
    column: np.ndarray
    rank: np.ndarray
    offset: np.ndarray
    first: np.ndarray
    layers: tuple[NetTableLayer, ...]
    head: np.ndarray
    multiplier: int
    shift: int
    centre: int
    columns: int

    def __post_init__(self) -> None:
        _freeze(self, reads=np.int32, column=np.int32, rank=np.uint8, offset=np.int32, first=np.int16, head=np.int8)
        self._check_reads()
        self._check_layers()
        if not 1 <= self.shift <= 62 or not 0 <= self.multiplier < 1 << 31 or abs(self.centre) >= 1 << 31:
            raise KernelInputError("shift must be from 1 to 62; multiplier and centre must fit into 32 bits")

    def _check_reads(self) -> None:
        if not 1 <= self.features <= MAX_FEATURES:
            raise KernelInputError(f"a net reads 1 to {MAX_FEATURES} features; got {self.features}")
        if len(self.reads) != len(self.offset) or self.reads[0] != 0 or (np.diff(self.reads) < 1).any():
            raise KernelInputError("each feature of a net reads at least one bin column")
        if self.rank.shape != (self.reads[-1], 256) or len(self.column) != self.reads[-1]:
            raise KernelInputError("column and rank have one entry a read")
        if not 0 <= self.column.min() <= self.column.max() < self.columns:
            raise KernelInputError("a net reads a bin column that is not there")
        if self.offset[0] != 0 or self.offset[-1] != len(self.first) or (np.diff(self.offset) < 1).any():
            raise KernelInputError("offset must ascend from 0 to the number of rows of the first layer")

    def _check_layers(self) -> None:
        if not 2 <= len(self.layers) <= MAX_LAYERS + 1 or not 1 <= self.members <= MAX_MEMBERS:
            raise KernelInputError(f"a net has 1 to {MAX_MEMBERS} members, and 1 to {MAX_LAYERS} layers after the first")
        if self.first.ndim != 2 or self.first.shape[1] != self.widths[0] or self.layers[0].weight is not None:
            raise KernelInputError("the first layer has a table instead of weights, as wide as its biases")
        if self.first.size >= 1 << 31:
            raise KernelInputError("the first layer's table has more entries than 31 bits count")
        for below, layer in zip(self.widths[:-1], self.layers[1:], strict=True):
            if layer.weight is None or layer.weight.shape != (below, layer.bias.shape[1]) or len(layer.bias) != self.members:
                raise KernelInputError("the weights of a layer must be [width below, its own], and all layers have K members")
        if self.head.shape != (self.members, self.widths[-1]):
            raise KernelInputError(f"head must be [K, O], {[self.members, self.widths[-1]]}; got {list(self.head.shape)}")
        reach = np.maximum.reduceat(np.abs(self.first.astype(np.int64)), self.offset[:-1]).sum(axis=0)
        if (reach + np.abs(self.layers[0].bias.astype(np.int64))).max() >= EXACT:
            raise KernelInputError("sums before an activation must stay below 2**24, where float32 is exact")

    @property
    def features(self) -> int:
        """C."""
        return len(self.offset) - 1

    @property
    def members(self) -> int:
        """K."""
        return len(self.head)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Of each layer, the first among them."""
        return tuple(layer.bias.shape[1] for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Multiplications of weights that one row takes without skipping any: those between layers, of all members."""
        return self.members * sum(layer.weight.size for layer in self.layers if layer.weight is not None)

    def terms(self, totals: np.ndarray) -> np.ndarray:
        """Return what totals [B] int32 add to sums of leaves, int64."""
        return (totals.astype(np.int64) * self.multiplier + (1 << (self.shift - 1))) >> self.shift

    @cached_property
    def centre_term(self) -> int:
        """What the mean total adds: a row's contribution is its term less this."""
        return int(self.terms(np.array([self.centre]))[0])

    @cached_property
    def native(self):
        """The table as C reads it."""
        from kernels.net_margin.native_layout import native_net

        return made_once(self, native_net)


def _freeze(table, **kinds) -> None:
    for name, kind in kinds.items():
        array = np.array(getattr(table, name), kind, order="C")
        array.setflags(write=False)  # shared between threads and programs
        object.__setattr__(table, name, array)
