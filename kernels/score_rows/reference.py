"""The four operations one after the other."""

from __future__ import annotations

import numpy as np

from kernels.bin_features.reference import bin_features
from kernels.path_contributions.reference import path_contributions
from kernels.rule_mask.reference import rule_mask
from kernels.score_rows import ScoredRows, ScoreTables
from kernels.top_values.reference import top_values


def score_rows(tables: ScoreTables, x: np.ndarray, memberships: np.ndarray | None = None, top: int = 0) -> ScoredRows:
    """Return what rules and forest say of each row; see the package for the contract."""
    bins = bin_features(tables.cuts, x, memberships)
    bits = rule_mask(tables.rules, bins)
    if tables.trees is None:
        margin, contributions = np.full(len(x), np.nan, np.float32), np.zeros((len(x), tables.cuts.features), np.float32)
    else:
        margin, contributions = path_contributions(tables.trees, bins)
    nothing = np.zeros((len(x), 0))
    position, value = top_values(contributions, top) if top else (nothing.astype(np.int32), nothing.astype(np.float32))
    return ScoredRows.of(margin, bits, position, value)
