"""How one margin comes about: exact Shapley values, and beside them what the fast path made of the same row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.bin_features import bin_features
from kernels.net_margin import NetTable, net_totals
from kernels.path_contributions import path_contributions
from kernels.tables import CutTable
from kernels.tree_shap import ShapTable, tree_shap


@dataclass(frozen=True, eq=False)
class Explanation:
    """All in log-odds.

    Attributes:
        contributions: [F] float64 exact (path-dependent TreeSHAP), equal to XGBoost's pred_contribs times the forest's weight.
        path_contributions: [F] float32, as the fused pass has them; a decision's model reasons are the largest of these.
        bias: what is expected where nothing is known.
        margin: bias + the exact contributions + that of the net.
        net: the net's contribution, which is not shared out among the features; None where there is no net.
    """

    contributions: np.ndarray
    path_contributions: np.ndarray
    bias: float
    margin: float
    net: float | None = None


def explain_row(cuts: CutTable, table: ShapTable, x: np.ndarray, net: NetTable | None = None) -> Explanation:
    """Explain one row x [F] float32."""
    bins = bin_features(cuts, np.ascontiguousarray(x[None]))
    contributions, bias = tree_shap(table, bins)
    _, path = path_contributions(table.trees, bins)
    margin, of_net = bias + float(contributions[0].sum()), None
    if net is not None:
        unit = 2.0**-table.trees.scale
        of_net = float(net.terms(net_totals(net, bins))[0] - net.centre_term) * unit
        bias += net.centre_term * unit
        margin = bias + float(contributions[0].sum()) + of_net
    return Explanation(contributions[0], path[0], bias, margin, of_net)
