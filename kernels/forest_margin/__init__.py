"""Margins of a gradient-boosted forest on bins.

A row goes left at a node where value < threshold, right otherwise, and by the node's default where the value is
missing; on bins that is one comparison of bytes (see TreeTable in kernels.tables). The margin is base + the sum of the
leaves reached. Leaves are fixed-point integers: the sum is exact, whatever its order, and is rounded once, to float32.
"""

from __future__ import annotations

import numpy as np

from kernels.bin_features import check_bins
from kernels.native import check, library, pointer
from kernels.tables import TreeTable


def forest_margin(trees: TreeTable, bins: np.ndarray) -> np.ndarray:
    """Return margins [B] float32 of bins [at least trees.columns, B] uint8.

    Raises:
        KernelInputError: bins does not fit.
    """
    check_bins(bins, trees.columns)
    native = library()
    if native is None:
        from kernels.forest_margin import reference

        return reference.forest_margin(trees, bins)
    margin = np.empty(bins.shape[1], np.float32)
    check(native.trees_on_bins(trees.native.address, pointer(bins), len(margin), pointer(margin), None))
    return margin
