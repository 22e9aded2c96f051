"""The plain product with the weight as a whole."""

from __future__ import annotations

import numpy as np

from kernels.block_sparse_linear.blocks import BlockWeight


def block_sparse_linear(
    x: np.ndarray, weight: BlockWeight, bias: np.ndarray | None = None, *, relu: bool = False,
    scale: np.ndarray | None = None, out_scale: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the layer's result; see the package for the contract."""
    wide = np.float64 if x.dtype == np.float32 else np.int64
    y = np.zeros((len(x), (len(weight.offsets) - 1) * weight.height), wide)
    padded = np.pad(x, ((0, 0), (0, -weight.inputs % weight.width))).astype(wide)
    for row in range(len(weight.offsets) - 1):
        outputs = slice(row * weight.height, (row + 1) * weight.height)
        for at in range(weight.offsets[row], weight.offsets[row + 1]):
            inputs = slice(weight.source[at] * weight.width, (weight.source[at] + 1) * weight.width)
            # Not padded columns: 0 x what lies there is 0, and x was padded with zeros.
            y[:, outputs] += padded[:, inputs] @ weight.values[at].T.astype(wide)
    y = y[:, : weight.outputs].astype(np.float32)
    if scale is not None:
        y = y * scale
    if bias is not None:
        y = y + bias
    if relu:
        y = np.where(y < 0, np.float32(0), y)
    if out_scale is None:
        return y
    return np.clip(np.floor(y * np.float32(1 / out_scale) + np.float32(0.5)), -127, 127).astype(np.int8)
