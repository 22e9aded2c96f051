"""Random nets whose activations are neither all zero nor all at their limit."""

from __future__ import annotations

import numpy as np

from inference_core.net import NetLayer, QuantisedNet


def random_net(
    rng: np.random.Generator, names: tuple[str, ...] = ("a", "b", "c"), members: int = 3, widths: tuple[int, ...] = (64, 128),
    thresholds: tuple[int, ...] = (), most_edges: int = 48, weight_density: float = 1.0,
) -> QuantisedNet:  # fmt: skip
    """Return a net over these features; `thresholds` one a layer, `weight_density` the share of weights that are not zero."""
    edges = tuple(random_edges(rng, int(rng.integers(0, most_edges + 1))) for _ in names)
    thresholds = thresholds or (0,) * len(widths)
    layers = []
    for below, width, threshold in zip(widths[:-1], widths[1:], thresholds[1:], strict=True):
        weight = rng.integers(-128, 128, (below, width)) * (rng.random((below, width)) < weight_density)
        layers.append(NetLayer(weight, *_activation(rng, members, width, 40.0 * 73 * (below * weight_density) ** 0.5), threshold))
    first = rng.integers(-2000, 2001, (sum(len(of) + 2 for of in edges), widths[0]))
    bias, scale = _activation(rng, members, widths[0], 1200.0 * len(names) ** 0.5)
    return QuantisedNet(
        feature_names=names, edges=edges, first=first, first_bias=bias, first_scale=scale, first_threshold=thresholds[0],
        layers=tuple(layers), head=rng.integers(-128, 128, (members, widths[-1])), unit=3e-6, base=-4.0,
        centre=int(rng.integers(-1000, 1000)),
    )  # fmt: skip


def random_edges(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.unique(rng.normal(size=count).astype(np.float32))


def random_rows(rng: np.random.Generator, net: QuantisedNet, rows: int) -> np.ndarray:
    """Return [rows, C] float32 with missing values, infinities and values that lie on edges."""
    x = rng.normal(size=(rows, len(net.edges))).astype(np.float32)
    for f, edges in enumerate(net.edges):
        if len(edges):
            on_edge = rng.random(rows) < 0.3
            x[on_edge, f] = rng.choice(edges, on_edge.sum())
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.02] = np.inf
    x[rng.random(x.shape) < 0.02] = -np.inf
    return x


def _activation(rng: np.random.Generator, members: int, width: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Return bias and scale with which sums of this spread become activations, some through a negative scale."""
    bias = rng.integers(-int(spread), int(spread) + 1, (members, width))
    scale = rng.choice([-1, 1, 1, 1], (members, width)) * rng.uniform(20, 90, (members, width)) / spread
    return bias, scale.astype(np.float32)
