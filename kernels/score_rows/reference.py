"""The operations one after the other."""

from __future__ import annotations

import numpy as np

from kernels.bin_features.reference import bin_features
from kernels.net_margin.reference import net_totals
from kernels.path_contributions.reference import path_sums
from kernels.rule_mask.reference import rule_mask
from kernels.score_rows import ScoredRows, ScoreTables
from kernels.top_values.reference import top_values


def score_rows(tables: ScoreTables, x: np.ndarray, memberships: np.ndarray | None = None, top: int = 0) -> ScoredRows:
    """Return what rules, forest and net say of each row; see the package for the contract."""
    bins = bin_features(tables.cuts, x, memberships)
    bits = rule_mask(tables.rules, bins)
    margin, contributions = _margins(tables, bins, len(x))
    nothing = np.zeros((len(x), 0))
    position, value = top_values(contributions, top) if top else (nothing.astype(np.int32), nothing.astype(np.float32))
    return ScoredRows.of(margin, bits, position, value)


def _margins(tables: ScoreTables, bins: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return margins [B] and contributions [B, F], or [B, F + 1] where a net stands beside the trees."""
    trees, net = tables.trees, tables.net
    if trees is None:
        return np.full(rows, np.nan, np.float32), np.zeros((rows, tables.cuts.features), np.float32)
    total, changes = path_sums(trees, bins)
    if net is not None:
        terms = net.terms(net_totals(net, bins))
        total, changes = total + terms, np.column_stack([changes, terms - net.centre_term])
    return trees.margin(total), (changes * 2.0**-trees.scale).astype(np.float32)
