"""Margins of a forest on bins, with the share of each feature in them.

The contribution of a feature is the sum, over the nodes on the paths taken that test it, of mean(child) - mean(node),
where mean is the cover-weighted mean of the leaves below (Saabas 2014, "Interpreting random forests"; XGBoost's
approx_contribs). All in fixed-point integers: bias + the contributions is the margin, up to the rounding to float32.
"""

from __future__ import annotations

import numpy as np

from kernels.bin_features import check_bins
from kernels.native import check, library, pointer
from kernels.tables import TreeTable


def path_contributions(trees: TreeTable, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return margins [B] and contributions [B, F], both float32, of bins [at least trees.columns, B] uint8.

    Raises:
        KernelInputError: bins does not fit.
    """
    check_bins(bins, trees.columns)
    native = library()
    if native is None:
        from kernels.path_contributions import reference

        return reference.path_contributions(trees, bins)
    margin = np.empty(bins.shape[1], np.float32)
    contributions = np.empty((len(margin), trees.features), np.float32)
    address = trees.native.address
    check(native.trees_on_bins(address, pointer(bins), len(margin), pointer(margin), pointer(contributions)))
    return margin, contributions
