"""A program of the usual size with random numbers: 50 rules, 200 trees of depth 6, and a net beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernels.net_margin import NetTable
from kernels.score_rows import ScoreTables
from tests.benchmarks.gpu.forest import random_forest, random_rows
from tests.kernels.random_nets import random_net_table

FEATURES = 64
MEMBERS, WIDTHS = 8, (256, 256)
USUAL_DENSITY = 0.3
"""The share of activations that are not zero; what a trained net has is told by the benchmark of trained nets."""


def whole_program(density: float = USUAL_DENSITY, missing_left: float = 0.5) -> ScoreTables:
    """Return the tables of all three."""
    tables = random_forest(features=FEATURES, cuts=120, missing_left=missing_left).tables
    net = random_net_table(
        np.random.default_rng(5), FEATURES, FEATURES, MEMBERS, WIDTHS, density=density, cuts=tables.cuts, most_reads=1,
        most_edges=48,
    )  # fmt: skip
    return replace(tables, net=net)


def without_net(tables: ScoreTables) -> ScoreTables:
    """Return the reduced program."""
    return replace(tables, net=None)


def net_of(density: float) -> NetTable:
    """Return the net alone."""
    net = whole_program(density).net
    assert net is not None
    return net


def rows(count: int, seed: int = 1) -> np.ndarray:
    """Return [count, FEATURES] float32, a few values missing."""
    return random_rows(count, FEATURES, seed, missing=0.05)
