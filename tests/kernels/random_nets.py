"""Random nets on bin columns, and bins that meet each of their rows."""

from __future__ import annotations

import numpy as np

from kernels.net_margin import NetTable, NetTableLayer
from kernels.tables import MISSING, CutTable


def random_net_table(
    rng: np.random.Generator, columns: int = 9, features: int = 5, members: int = 3, widths: tuple[int, ...] = (64, 128),
    thresholds: tuple[int, ...] = (), density: float = 0.5, cuts: CutTable | None = None, most_reads: int = 3,
    most_edges: int = 16,
) -> NetTable:  # fmt: skip
    """Return a net over random columns, some of its features spread over two or three.

    Args:
        density: the share of activations that are not zero, about; at its lowest whole rows are.
        cuts: whose columns' bins are no larger than their number of cuts.
        most_reads: bin columns of a feature.
        most_edges: of a column that a feature reads.
    """
    thresholds = thresholds or (0,) * len(widths)
    most = np.full(columns, MISSING - 1) if cuts is None else np.diff(cuts.offsets)
    reads, column, rank, offset = [0], [], [], [0]
    for _ in range(features):
        own = rng.choice(columns, int(rng.integers(1, min(most_reads, columns) + 1)), replace=False)
        rows = 2
        for k in own:
            edges = int(rng.integers(0, min(most_edges, int(most[k])) + 1))
            at = np.sort(rng.choice(int(most[k]), edges, replace=False)) + 1 if edges else np.zeros(0)
            rank.append(np.searchsorted(at, np.arange(256), side="right"))
            rank[-1][MISSING] = 255
            rows += edges
        offset.append(offset[-1] + rows)
        column += own.tolist()
        reads.append(len(column))
    layers = [NetTableLayer(None, *_activation(rng, members, widths[0], 1200.0 * features**0.5, density), thresholds[0])]
    for below, width, threshold in zip(widths[:-1], widths[1:], thresholds[1:], strict=True):
        spread = 73 * 40.0 * (below * max(density, 0.05)) ** 0.5
        weight = rng.integers(-128, 128, (below, width))
        layers.append(NetTableLayer(weight, *_activation(rng, members, width, spread, density), threshold))
    shift = int(rng.integers(25, 40))  # terms of the size of leaves' sums
    return NetTable(
        reads=reads, column=column, rank=rank, offset=offset, first=rng.integers(-2000, 2001, (offset[-1], widths[0])),
        layers=tuple(layers), head=rng.integers(-128, 128, (members, widths[-1])), multiplier=int(rng.integers(1, 2**31)),
        shift=shift, centre=int(rng.integers(-1000, 1000)), columns=columns,
    )  # fmt: skip


def random_bins(rng: np.random.Generator, net: NetTable, rows: int) -> np.ndarray:
    """Return [columns, rows] uint8, all bins and many missing."""
    bins = rng.integers(0, 256, (net.columns, rows), dtype=np.uint8)
    bins[rng.random(bins.shape) < 0.1] = MISSING
    return bins


def _activation(
    rng: np.random.Generator, members: int, width: int, spread: float, density: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return bias and scale: sums of about this spread, of which a share as large as `density` becomes more than zero."""
    place = np.quantile(np.random.default_rng(0).normal(size=10_000), 1 - density) if density < 1 else -4.0
    bias = (rng.normal(-place, 0.3, (members, width)) * spread).astype(np.int64)
    scale = rng.uniform(20, 90, (members, width)) / spread
    turned = rng.random((members, width)) < 0.2
    return np.where(turned, -bias, bias), np.where(turned, -scale, scale).astype(np.float32)
