"""A net in integers: every device, batch size and kernel gives the same bits, as the forest does.

A TabM-like ensemble (Gorishniy et al. 2025, arXiv 2410.24210): members share the large weights and differ by scales and
biases of their own. Shape letters: B rows, C features, E cuts of a feature, H width of the first layer, K members, I inputs
and O outputs of a layer.

    z[h]       = sum over features of first[offset + bin, h]                                   int32
    a[k, h]    = clamp(rint(float32(z[h] + first_bias[k, h]) * first_scale[k, h]), 0, 127)     uint8
    a[k, o]    = the same of a[k] @ weight + bias[k, o] and scale[k, o], for each layer
    total      = sum over k, o of a[k, o] * head[k, o]                                         int32
    logit      = total * unit + base

A piecewise-linear encoding and the linear layer behind it depend on the bin alone, so that the first layer is a table. An
activation below its layer's threshold counts as zero. Between two layers there is one multiplication in float32 and one
rounding (half to even), which no fused multiply-add can change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inference_core.errors import ProgramError

MAX_EDGES = 48
MAX_WIDTH = 512
WIDTH_STEP = 64
MAX_MEMBERS = 32
MAX_LAYERS = 3
LARGEST_ACTIVATION = 127
EXACT = 1 << 24
"""Integers below this in size are exact in float32."""


@dataclass(frozen=True, eq=False)
class NetLayer:
    """A hidden layer, whose weights all members share.

    Attributes:
        weight: [I, O] int8; a pruned weight is zero.
        bias: [K, O] int32.
        scale: [K, O] float32, finite.
        threshold: from 0 to 127; activations below it count as zero.
    """

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    threshold: int = 0

    def __post_init__(self) -> None:
        _freeze(self, weight=np.int8, bias=np.int32, scale=np.float32)
        _check_activation(self.bias, self.scale, self.threshold)
        if self.weight.ndim != 2 or self.weight.shape[1] != self.bias.shape[1]:
            raise ProgramError(f"weight must be [I, {self.bias.shape[1]}]; got {list(self.weight.shape)}")
        reach = np.abs(self.weight.astype(np.int64)).sum(axis=0) * LARGEST_ACTIVATION + np.abs(self.bias.astype(np.int64))
        _require_exact(reach)


@dataclass(frozen=True, eq=False)
class QuantisedNet:
    """The net; arrays are read-only.

    Attributes:
        feature_names: C, columns of x in this order.
        edges: for each feature [E] float32 ascending, at most MAX_EDGES; bin = number of edges <= value.
        first: [sum(E + 2), H] int16; of each feature its bins 0 .. E, then the row of a missing value.
        first_bias, first_scale, first_threshold: [K, H] int32, [K, H] float32 and a number, as of a NetLayer.
        layers: one to MAX_LAYERS.
        head: [K, O] int8.
        unit, base: logit = total * unit + base.
        centre: the mean of total over the training rows, from which the net's contribution to a margin is told.
    """

    feature_names: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    first: np.ndarray
    first_bias: np.ndarray
    first_scale: np.ndarray
    layers: tuple[NetLayer, ...]
    head: np.ndarray
    unit: float
    base: float
    first_threshold: int = 0
    centre: int = 0

    def __post_init__(self) -> None:
        _freeze(self, first=np.int16, first_bias=np.int32, first_scale=np.float32, head=np.int8)
        object.__setattr__(self, "feature_names", tuple(self.feature_names))
        object.__setattr__(self, "edges", tuple(_frozen(of, np.float32) for of in self.edges))
        object.__setattr__(self, "layers", tuple(self.layers))
        self._check_features()
        self._check_widths()
        if not (np.isfinite(self.unit) and np.isfinite(self.base) and self.unit > 0):
            raise ProgramError(f"unit must be positive and both finite; got {self.unit}, {self.base}")
        if abs(self.centre) >= 2**31:
            raise ProgramError(f"centre must fit into 32 bits; got {self.centre}")

    def _check_features(self) -> None:
        if len(self.edges) != len(self.feature_names) or not self.edges:
            raise ProgramError(f"{len(self.feature_names)} features need as many arrays of edges; got {len(self.edges)}")
        for name, edges in zip(self.feature_names, self.edges, strict=True):
            if edges.ndim != 1 or len(edges) > MAX_EDGES or np.isnan(edges).any() or (edges[1:] <= edges[:-1]).any():
                raise ProgramError(f"the edges of {name} must be at most {MAX_EDGES}, ascending and not NaN")
        rows = int(self.offsets[-1])
        if self.first.ndim != 2 or len(self.first) != rows:
            raise ProgramError(f"first must have a row for each bin and missing value, {rows}; got {list(self.first.shape)}")

    def _check_widths(self) -> None:
        _check_activation(self.first_bias, self.first_scale, self.first_threshold)
        if not 1 <= self.members <= MAX_MEMBERS or not 1 <= len(self.layers) <= MAX_LAYERS:
            raise ProgramError(f"a net has 1 to {MAX_MEMBERS} members and 1 to {MAX_LAYERS} hidden layers")
        width = self.first.shape[1]
        for width_below, layer in zip(self.widths, self.layers, strict=False):
            if layer.weight.shape[0] != width_below or layer.bias.shape[0] != self.members:
                raise ProgramError(
                    f"a layer after {self.members} members of width {width_below} got weights {list(layer.weight.shape)} "
                    f"and biases {list(layer.bias.shape)}"
                )
        if any(of % WIDTH_STEP or not 0 < of <= MAX_WIDTH for of in self.widths):
            raise ProgramError(f"widths must be multiples of {WIDTH_STEP} up to {MAX_WIDTH}; got {self.widths}")
        if self.first_bias.shape[1] != width or self.head.shape != (self.members, self.widths[-1]):
            raise ProgramError(f"first_bias and head must be [{self.members}, H]; got {self.first_bias.shape}, {self.head.shape}")
        reach = np.zeros(width, np.int64)
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            reach += np.abs(self.first[start:end].astype(np.int64)).max(axis=0)
        _require_exact(reach + np.abs(self.first_bias.astype(np.int64)))

    @cached_property
    def offsets(self) -> np.ndarray:
        """[C + 1] int64 row of `first` at which each feature begins, and the number of rows."""
        return np.concatenate([[0], np.cumsum([len(edges) + 2 for edges in self.edges])]).astype(np.int64)

    @property
    def members(self) -> int:
        """K."""
        return self.first_bias.shape[0]

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the first layer and of each hidden one."""
        return (self.first.shape[1], *(layer.bias.shape[1] for layer in self.layers))

    def table_rows(self, x: np.ndarray) -> np.ndarray:
        """Return [B, C] int64, the row of `first` that each value of x [B, C] float32 reads."""
        rows = np.empty(x.shape, np.int64)
        for f, edges in enumerate(self.edges):
            found = np.searchsorted(edges, x[:, f], side="right")
            rows[:, f] = self.offsets[f] + np.where(np.isnan(x[:, f]), len(edges) + 1, found)
        return rows

    def activations(self, x: np.ndarray) -> list[np.ndarray]:
        """Return what each layer gives, [B, K, O] uint8: plain, slow, and what the kernels must equal."""
        z = self.first[self.table_rows(x)].sum(axis=1, dtype=np.int32)
        given = [activate(z[:, None, :] + self.first_bias, self.first_scale, self.first_threshold)]
        for layer in self.layers:
            sums = given[-1].astype(np.int32) @ layer.weight.astype(np.int32)
            given.append(activate(sums + layer.bias, layer.scale, layer.threshold))
        return given

    def totals(self, x: np.ndarray) -> np.ndarray:
        """Return [B] int32 of rows x [B, C] float32."""
        return (self.activations(x)[-1].astype(np.int32) * self.head).sum(axis=(1, 2), dtype=np.int32)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return log-odds [B] float64 of rows x [B, C] float32, which a blend takes."""
        return self.totals(x) * self.unit + self.base


def activate(sums: np.ndarray, scale: np.ndarray, threshold: int) -> np.ndarray:
    """Return clamp(rint(float32(sums) * scale), 0, 127) as uint8, and 0 where that is below the threshold."""
    with np.errstate(over="ignore"):
        scaled = sums.astype(np.float32) * scale.astype(np.float32)
    given = np.clip(np.rint(scaled), 0, LARGEST_ACTIVATION).astype(np.uint8)
    return np.where(given < threshold, np.uint8(0), given)


def _frozen(array: np.ndarray, kind: type) -> np.ndarray:
    given = np.asarray(array)
    kept = given.astype(kind, order="C")
    if kept.dtype.kind == "i" and not np.array_equal(kept, given):
        raise ProgramError(f"an array does not fit into {kept.dtype.name}")
    kept.setflags(write=False)
    return kept


def _freeze(of: NetLayer | QuantisedNet, **kinds: type) -> None:
    for name, kind in kinds.items():
        object.__setattr__(of, name, _frozen(getattr(of, name), kind))


def _check_activation(bias: np.ndarray, scale: np.ndarray, threshold: int) -> None:
    if bias.ndim != 2 or scale.shape != bias.shape:
        raise ProgramError(f"bias and scale must both be [K, O]; got {list(bias.shape)} and {list(scale.shape)}")
    if not np.isfinite(scale).all():
        raise ProgramError("scales must be finite")
    if not 0 <= threshold <= LARGEST_ACTIVATION:
        raise ProgramError(f"a threshold is from 0 to {LARGEST_ACTIVATION}; got {threshold}")


def _require_exact(reach: np.ndarray) -> None:
    if reach.max(initial=0) >= EXACT:
        raise ProgramError(f"sums before an activation reach {reach.max()}, and float32 is exact below {EXACT}: use finer scales")
