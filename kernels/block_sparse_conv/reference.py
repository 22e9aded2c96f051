"""The plain convolution with the weight as a whole, place by place."""

from __future__ import annotations

import numpy as np

from kernels.block_sparse_conv.taps import ConvWeight


def block_sparse_conv(
    x: np.ndarray, weight: ConvWeight, bias: np.ndarray | None = None, *, residual: np.ndarray | None = None, relu: bool = False
) -> np.ndarray:
    """Return [N, H, W, outputs] float32; see the package for the contract."""
    count, height, width, channels = x.shape
    tall, wide = weight.size
    dense = weight.blocks.dense().astype(np.float64).reshape(-1, tall, wide, channels)
    y = np.zeros((count, height, width, weight.blocks.outputs))
    for i in range(tall):
        for j in range(wide):
            down, right = i - tall // 2, j - wide // 2
            for row in range(max(0, -down), min(height, height - down)):
                for column in range(max(0, -right), min(width, width - right)):
                    y[:, row, column] += x[:, row + down, column + right].astype(np.float64) @ dense[:, i, j].T
    y += 0.0 if bias is None else bias
    y += 0.0 if residual is None else residual
    return np.where(relu & (y < 0), 0.0, y).astype(np.float32)
