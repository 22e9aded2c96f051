"""All rules on all rows of bins: which hit, which lack history, which failed.

A rule is a straight program of predicates on bins (intervals of a column's bins) and of and, or, not; see RuleTable in
kernels.tables. The bits that come out are the explanation. One uint64 word holds 64 rules of a row; the features were
float32 before they were binned.
"""

from __future__ import annotations

import numpy as np

from kernels.bin_features import check_bins
from kernels.native import check, library, pointer
from kernels.tables import RuleBits, RuleTable


def rule_mask(table: RuleTable, bins: np.ndarray) -> RuleBits:
    """Return hit, insufficient and error, each [B, W] uint64, of bins [at least table.columns, B] uint8.

    Raises:
        KernelInputError: bins does not fit.
    """
    check_bins(bins, table.columns)
    native = library()
    if native is None:
        from kernels.rule_mask import reference

        return reference.rule_mask(table, bins)
    rows = bins.shape[1]
    words = [np.zeros((rows, table.words), np.uint64) for _ in range(3)]  # outputs that no rule has stay zero
    check(native.rule_mask(table.native.address, pointer(bins), table.columns, rows, *map(pointer, words)))
    return RuleBits(*words)
