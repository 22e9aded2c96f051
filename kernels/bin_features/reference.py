"""Bins by NumPy's own binary search, one column at a time."""

from __future__ import annotations

import numpy as np

from kernels.tables import MISSING, Arithmetic, CutTable


def derive(table: CutTable, x: np.ndarray) -> np.ndarray:
    """Return [B, F + D] float32: x, then the derived columns."""
    wide = np.empty((len(x), table.features + len(table.derived)), np.float32)
    wide[:, : table.features] = x
    with np.errstate(all="ignore"):
        for d, step in enumerate(table.derived):
            a = wide[:, step["a"]] if step["a"] >= 0 else np.full(len(x), step["a_value"], np.float32)
            b = wide[:, step["b"]] if step["b"] >= 0 else np.full(len(x), step["b_value"], np.float32)
            wide[:, table.features + d] = _OPERATIONS[Arithmetic(step["op"])](a, b)
    return wide


def _order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    order = (a > b).astype(np.float32) - (a < b).astype(np.float32)
    return np.where(np.isnan(a) | np.isnan(b), np.float32(np.nan), order)


_OPERATIONS = {
    Arithmetic.ADD: np.add, Arithmetic.SUBTRACT: np.subtract, Arithmetic.MULTIPLY: np.multiply, Arithmetic.DIVIDE: np.divide,
    Arithmetic.ORDER: _order,
}  # fmt: skip


def bin_features(table: CutTable, x: np.ndarray, memberships: np.ndarray | None = None) -> np.ndarray:
    """Return bins [K + L, B] uint8; see the package for the contract."""
    wide = derive(table, x)
    bins = np.zeros((table.width, len(x)), np.uint8)
    for k, source in enumerate(table.source):
        value = wide[:, source]
        cuts = table.cuts[table.offsets[k] : table.offsets[k + 1]]
        bins[k] = np.where(np.isnan(value), MISSING, np.searchsorted(cuts, value, side="right"))
    if memberships is not None:
        bins[table.columns :] = memberships.T
    return bins
