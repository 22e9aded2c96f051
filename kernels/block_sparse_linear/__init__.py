"""A linear layer whose weight is zero in whole blocks: y = act(x @ weight.T + bias), blocks of zeros neither kept nor computed.

float32 rows with float32 blocks give float32. int8 rows with int8 blocks are summed exactly in int32, and one scale an output
(the row's scale times the weight's) makes float32 of the sums; with `out_scale` the result is int8 again for the next layer:
floor(y / out_scale + 1/2), from -127 to 127. gpu_triton.py does the same in bfloat16 and int8 on tensors of a GPU.
"""

from __future__ import annotations

import ctypes

import numpy as np

from kernels.block_sparse_linear.blocks import BlockWeight, pack_blocks
from kernels.errors import KernelInputError
from kernels.native import library, pointer

__all__ = ["BlockWeight", "block_sparse_linear", "check_parts", "pack_blocks"]


def block_sparse_linear(
    x: np.ndarray, weight: BlockWeight, bias: np.ndarray | None = None, *, relu: bool = False,
    scale: np.ndarray | None = None, out_scale: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Return act(x @ weight.T * scale + bias) [B, outputs].

    Args:
        x: C-contiguous [B, inputs] of the dtype of the weight's values, float32 or int8. A block of zeros ignores its inputs,
            NaN among them; elsewhere NaN and infinities go where arithmetic takes them.
        bias: [outputs] float32, finite; None for none.
        relu: negative results become 0; NaN stays.
        scale: [outputs] float32, finite, for int8 alone and needed there.
        out_scale: above 0, for int8 alone: the result is int8, this many units a step.

    Returns:
        float32, or int8 with out_scale.

    Raises:
        KernelInputError: the parts do not fit each other.
    """
    check_parts(x, weight, bias, scale, out_scale)
    native = library()
    if native is None:
        from kernels.block_sparse_linear import reference

        return reference.block_sparse_linear(x, weight, bias, relu=relu, scale=scale, out_scale=out_scale)
    y = np.empty((len(x), weight.outputs), np.float32)
    parts = [None if part is None else pointer(part) for part in (scale, bias)]
    run = native.block_sparse_float32 if x.dtype == np.float32 else native.block_sparse_int8
    sizes = [ctypes.c_int64(n) for n in (weight.outputs, weight.inputs, weight.height, weight.width, len(x))]
    blocks = [pointer(of) for of in (weight.values, weight.source, weight.offsets)]
    run(*blocks, *sizes, pointer(x), *parts, ctypes.c_int32(relu), pointer(y))
    return y if out_scale is None else requantised(y, out_scale)


def requantised(y: np.ndarray, out_scale: float) -> np.ndarray:
    """Return floor(y / out_scale + 1/2) as int8, from -127 to 127."""
    return np.clip(np.floor(y * np.float32(1 / out_scale) + np.float32(0.5)), -127, 127).astype(np.int8)


def check_parts(
    x: np.ndarray, weight: BlockWeight, bias: np.ndarray | None, scale: np.ndarray | None, out_scale: float | None
) -> None:
    """Raise KernelInputError unless the arguments of block_sparse_linear fit each other."""
    dtype = weight.values.dtype
    if x.dtype != dtype or x.ndim != 2 or x.shape[1] != weight.inputs or not x.flags.c_contiguous:
        raise KernelInputError(f"x must be C-contiguous {dtype} [B, {weight.inputs}]; got {x.dtype} {x.shape}")
    for name, part in (("bias", bias), ("scale", scale)):
        if part is None:
            continue
        fits = part.dtype == np.float32 and part.shape == (weight.outputs,) and part.flags.c_contiguous
        if not fits or not np.isfinite(part).all():
            raise KernelInputError(f"{name} must be contiguous finite float32 [{weight.outputs}]; got {part.dtype} {part.shape}")
    if (scale is None) != (dtype == np.float32) or (out_scale is not None and (scale is None or not out_scale > 0)):
        raise KernelInputError("int8 needs a scale for each output, float32 takes none; out_scale is above 0 and for int8 alone")
