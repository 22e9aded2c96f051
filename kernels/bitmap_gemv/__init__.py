"""A linear layer for single rows on the CPU whose weight has zeros anywhere: y = act(x @ weight.T * scale + bias).

One row reads the whole weight, so its bytes are its time as soon as they do not fit in a near cache: a bit for each place and
a value for each that is not zero, 1/8 + b (1 - zeros) bytes a weight instead of b. From a few rows on a dense product is
faster, which reads the weight once for all of them.

float32 rows with float32 values, or int8 rows with int8 values: then sums are exact, and one scale an output (the row's scale
times the weight's) makes float32 of them.
"""

from __future__ import annotations

import functools
from ctypes import PyDLL, c_int32, c_int64, c_void_p

import numpy as np

from kernels.bitmap_gemv.weight import BitmapWeight, pack_bitmap
from kernels.errors import KernelInputError
from kernels.native import address, check, library, typed_libraries

__all__ = ["BitmapWeight", "bitmap_gemv", "pack_bitmap"]

_ARGUMENTS = [c_void_p, c_void_p, c_int64, c_void_p, c_void_p, c_int32, c_void_p]
_SIGNATURES = {"bitmap_gemv_float32": (_ARGUMENTS, c_int32), "bitmap_gemv_int8": (_ARGUMENTS, c_int32)}


def bitmap_gemv(
    x: np.ndarray, weight: BitmapWeight, bias: np.ndarray | None = None, *, relu: bool = False, scale: np.ndarray | None = None
) -> np.ndarray:
    """Return act(x @ weight.T * scale + bias) [B, outputs] float32.

    Args:
        x: C-contiguous [B, inputs] of the dtype of the weight's values. A place whose weight is zero ignores its input, NaN
            too; elsewhere NaN and infinities go where arithmetic takes them.
        bias: [outputs] float32, or None.
        relu: negative results become 0; NaN stays.
        scale: [outputs] float32 for int8, and needed there.

    Raises:
        KernelInputError: the parts do not fit each other.
        MemoryError: there is no room for a row.
    """
    dtype = weight.values.dtype
    if x.dtype != dtype or x.ndim != 2 or x.shape[1] != weight.inputs or not x.flags.c_contiguous:
        raise KernelInputError(f"x must be C-contiguous {dtype} [B, {weight.inputs}]; got {x.dtype} {x.shape}")
    for name, part in (("bias", bias), ("scale", scale)):
        if part is not None and (part.dtype != np.float32 or part.shape != (weight.outputs,) or not part.flags.c_contiguous):
            raise KernelInputError(f"{name} must be C-contiguous float32 [{weight.outputs}]; got {part.dtype} {part.shape}")
    if (scale is None) != (dtype == np.float32):
        raise KernelInputError("int8 needs a scale for each output, float32 takes none")
    if library() is None:
        from kernels.bitmap_gemv import reference

        return reference.bitmap_gemv(x, weight, bias, relu=relu, scale=scale)
    y = np.empty((len(x), weight.outputs), np.float32)
    run = _brief().bitmap_gemv_float32 if scale is None else _brief().bitmap_gemv_int8
    parts = [None if part is None else address(part) for part in (scale, bias)]
    check(run(weight.address, address(x), len(x), *parts, relu, address(y)))
    return y


@functools.cache
def _brief() -> PyDLL:
    return typed_libraries(_SIGNATURES)[0]
