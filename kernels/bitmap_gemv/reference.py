"""The plain product with the weight as a whole."""

from __future__ import annotations

import numpy as np

from kernels.bitmap_gemv.weight import BitmapWeight


def bitmap_gemv(
    x: np.ndarray, weight: BitmapWeight, bias: np.ndarray | None = None, *, relu: bool = False, scale: np.ndarray | None = None
) -> np.ndarray:
    """Return the layer's result; see the package for the contract."""
    wide = np.float64 if x.dtype == np.float32 else np.int64
    dense = weight.dense().astype(wide)
    y = np.zeros((len(x), weight.outputs), wide)
    for row, values in enumerate(x.astype(wide)):
        # Where there is a weight alone: 0 x NaN would be NaN.
        y[row] = np.where(dense != 0, dense * np.where(dense != 0, values, 0), 0).sum(axis=1)
    y = y.astype(np.float32)
    if scale is not None:
        y = y * scale
    if bias is not None:
        y = y + bias
    return np.where(y < 0, np.float32(0), y) if relu else y
