"""A small encoding with every kind of feature, rows for it, and nets over it that train in a second."""

from __future__ import annotations

import numpy as np

from inference_core.modalities import BinEncoding, NetRows, NetShape, NetTraining

EVENT_EDGES = np.linspace(-1.5, 1.5, 9).astype(np.float32)
ENCODING = BinEncoding(
    ("amount", "count", "flag", "card_last0_amount", "card_last1_amount", "card_last0_gap"),
    (
        np.linspace(-2, 2, 31).astype(np.float32),
        np.array([-0.5, 0.0, 0.5], np.float32),
        np.array([0.0], np.float32),
        EVENT_EDGES,
        EVENT_EDGES,
        np.linspace(-1, 1, 5).astype(np.float32),
    ),
)
SHAPE = NetShape(width=64, hidden=(64,), members=3, dropout=0.2)
TRAINING = NetTraining(epochs=6, batch_rows=256, learning_rate=5e-3, weight_decay=0.01, averaging=0.9, seed=3)


def rows_of(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x [n, 6] float32, a tenth of it missing and some on the edges themselves, and labels of about a tenth frauds."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, 6)).astype(np.float32)
    x[generator.random(x.shape) < 0.1] = np.nan
    for f, edges in enumerate(ENCODING.edges):
        at_edge = generator.random(n) < 0.1
        x[at_edge, f] = generator.choice(edges, int(at_edge.sum()))
    known = np.nan_to_num(x)
    strength = 1.5 * known[:, 0] + known[:, 1] * (known[:, 3] > 0) + 0.3 * generator.normal(size=n)
    return x, (strength > np.quantile(strength, 0.9)).astype(np.uint8)


def net_rows(n: int, seed: int) -> NetRows:
    x, labels = rows_of(n, seed)
    return NetRows(ENCODING.bins(x), labels, np.ones(n, np.float32))
