"""The largest values of each row, with their columns."""

from __future__ import annotations

import ctypes

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import library, pointer


def top_values(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (columns [B, k] int32, values [B, k] float32) of the k largest values of each row, largest first.

    Ties go to the lower column; NaN and minus infinity are never chosen. Where a row has fewer than k values to choose
    from, the column is -1 and the value minus infinity.

    Raises:
        KernelInputError: x is not C-contiguous float32 [B, F], or k is not between 1 and F.
    """
    if x.dtype != np.float32 or x.ndim != 2 or not x.flags.c_contiguous or not 1 <= k <= x.shape[1]:
        raise KernelInputError(f"x must be C-contiguous float32 [B, F] with F >= k >= 1; got {x.dtype} {x.shape}, k = {k}")
    native = library()
    if native is None:
        from kernels.top_values import reference

        return reference.top_values(x, k)
    position, value = np.empty((len(x), k), np.int32), np.empty((len(x), k), np.float32)
    native.top_values(
        pointer(x), ctypes.c_int64(len(x)), ctypes.c_int64(x.shape[1]), ctypes.c_int64(k), pointer(position), pointer(value)
    )
    return position, value
