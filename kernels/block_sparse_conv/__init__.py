"""A convolution of stride 1 that keeps the picture's size, whose weight is zero in whole blocks.

A block is some outputs x some channels of one place of the window. y = act(conv(x, weight) + bias + residual), outside of the
picture zeros; a batch norm with fixed statistics is folded into weight and bias by the caller. float32 here; gpu_triton.py
does the same in bfloat16 on rows of pixels with a border.
"""

from __future__ import annotations

import numpy as np

from kernels.block_sparse_conv.taps import ConvWeight, pack_conv
from kernels.block_sparse_linear import block_sparse_linear
from kernels.errors import KernelInputError

__all__ = ["ConvWeight", "block_sparse_conv", "pack_conv"]


def block_sparse_conv(
    x: np.ndarray, weight: ConvWeight, bias: np.ndarray | None = None, *, residual: np.ndarray | None = None, relu: bool = False
) -> np.ndarray:
    """Return [N, H, W, outputs] float32.

    Args:
        x: [N, H, W, channels] float32.
        bias: [outputs] float32, finite; None for none.
        residual: [N, H, W, outputs] float32, added before the activation; None for none.
        relu: negative results become 0; NaN stays.

    Raises:
        KernelInputError: the parts do not fit each other.
    """
    if x.dtype != np.float32 or x.ndim != 4 or x.shape[3] != weight.channels:
        raise KernelInputError(f"x must be float32 [N, H, W, {weight.channels}]; got {x.dtype} {x.shape}")
    shape = (*x.shape[:3], weight.blocks.outputs)
    if residual is not None and (residual.dtype != np.float32 or residual.shape != shape):
        raise KernelInputError(f"residual must be float32 {list(shape)}; got {residual.dtype} {residual.shape}")
    rows = windows(x, weight.size).reshape(-1, weight.blocks.inputs)
    y = block_sparse_linear(rows, weight.blocks, bias, relu=relu and residual is None).reshape(shape)
    if residual is None:
        return y
    y += residual
    return np.where(y < 0, np.float32(0), y) if relu else y


def windows(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return [N, H, W, places x channels]: what the window sees at each pixel."""
    down, right = size[0] // 2, size[1] // 2
    padded = np.pad(x, ((0, 0), (down, down), (right, right), (0, 0)))
    _, height, width, _ = x.shape
    places = [padded[:, i : i + height, j : j + width] for i in range(size[0]) for j in range(size[1])]
    return np.concatenate(places, axis=3)
