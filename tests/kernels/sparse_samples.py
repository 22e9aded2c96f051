"""Weights with zeros and rows for them, for the suites of the sparse kernels."""

from __future__ import annotations

import numpy as np


def block_zeros(outputs: int, inputs: int, height: int, width: int, zeros: float, seed: int = 0) -> np.ndarray:
    """Return float32 [outputs, inputs], about a share of whose blocks is zero."""
    rng = np.random.default_rng(seed)
    kept = rng.random((-(-outputs // height), -(-inputs // width))) >= zeros
    weight = rng.normal(size=(outputs, inputs)) * np.kron(kept, np.ones((height, width)))[:outputs, :inputs]
    return weight.astype(np.float32)


def scattered_zeros(outputs: int, inputs: int, zeros: float, seed: int = 0) -> np.ndarray:
    """Return float32 [outputs, inputs], about a share of whose values is zero."""
    return block_zeros(outputs, inputs, 1, 1, zeros, seed)


def as_int8(weight: np.ndarray) -> np.ndarray:
    return np.clip(np.round(weight * 50), -127, 127).astype(np.int8)


def float_rows(rows: int, inputs: int) -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)


def int8_rows(rows: int, inputs: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(-128, 128, (rows, inputs)).astype(np.int8)


def vectors(outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a scale and a bias for each output."""
    rng = np.random.default_rng(outputs)
    return rng.uniform(1e-4, 1e-3, outputs).astype(np.float32), rng.normal(size=outputs).astype(np.float32)
