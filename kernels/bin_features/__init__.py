"""Rows of numbers to rows of bins: each value is looked up once, and all that follows compares bytes.

The bin of a value is the number of its column's cuts that are <= it, so `value < cut[i]` is `bin <= i`, exactly; -0.0
equals 0.0, infinities are ordered like other numbers, and NaN is MISSING (255). Derived columns (sums, differences,
products, ratios and orders of columns) are computed first, in float32, each operation rounded to nearest.
"""

from __future__ import annotations

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import check, library, owned_rows, pointer
from kernels.tables import CutTable


def bin_features(table: CutTable, x: np.ndarray, memberships: np.ndarray | None = None) -> np.ndarray:
    """Return bins [K + L, B] uint8 of rows x [B, F] float32 and memberships [B, L] bool (None: in no list).

    x may have any strides, so that columns may be contiguous instead of rows.

    Raises:
        KernelInputError: a shape or type does not fit.
    """
    check_rows(table, x, memberships)
    native = library()
    if native is None:
        from kernels.bin_features import reference

        return reference.bin_features(table, x, memberships)
    x = owned_rows(x)
    bins = np.empty((table.width, len(x)), np.uint8)
    lists = None if memberships is None else np.ascontiguousarray(memberships)
    strides = (x.strides[0] // 4, x.strides[1] // 4)
    members = None if lists is None else pointer(lists)
    check(native.bin_features(table.native.address, pointer(x), len(x), *strides, members, pointer(bins)))
    return bins


def check_rows(table: CutTable, x: np.ndarray, memberships: np.ndarray | None) -> None:
    """Raise KernelInputError unless x is float32 [B, F] and memberships bool [B, L] or None."""
    if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != table.features:
        raise KernelInputError(f"x must be float32 [B, {table.features}]; got {x.dtype} {list(x.shape)}")
    if memberships is not None and (memberships.dtype != np.bool_ or memberships.shape != (len(x), table.lists)):
        raise KernelInputError(
            f"memberships must be bool [{len(x)}, {table.lists}]; got {memberships.dtype} {list(memberships.shape)}"
        )


def check_bins(bins: np.ndarray, columns: int) -> None:
    """Raise KernelInputError unless bins is C-contiguous uint8 [at least `columns`, B]."""
    if bins.dtype != np.uint8 or bins.ndim != 2 or bins.shape[0] < columns or not bins.flags.c_contiguous:
        raise KernelInputError(
            f"bins must be C-contiguous uint8 [at least {columns}, B]; got {bins.dtype} {list(bins.shape)}"
        )
