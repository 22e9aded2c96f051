"""Layout: cuts, trees, rules and net become the tables that the kernels read."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from inference_core.compiler.draft import Draft
from inference_core.compiler.tables.cut_table import cut_table
from inference_core.compiler.tables.net_table import net_table
from inference_core.compiler.tables.rule_table import rule_table
from inference_core.compiler.tables.tree_table import tree_table
from kernels.score_rows import ScoreTables
from kernels.tables import TreeTable

logger = logging.getLogger(__name__)

PROMISED = 1e-5
"""How exact margins are to be: of 1, or of what the leaves usually add up to where that is more."""


def run(draft: Draft) -> tuple[Draft, str]:
    """Return the draft with its tables.

    Raises:
        ProgramError: the tables cannot hold so much; the message names what is too large.
    """
    if draft.cuts is None:
        raise TypeError("layout needs the cuts: run cut_union first")
    trees = tree_table(draft.ir, draft.cuts)
    rules = rule_table(draft.ir, draft.cuts)
    net = None if draft.ir.net is None or trees is None else net_table(draft.ir.net, draft.cuts, trees.scale)
    tables = ScoreTables(cut_table(draft.ir, draft.cuts), rules, trees, net)
    forest = "no trees"
    if trees is not None:
        rounding = len(trees.roots) * 2.0 ** -(trees.scale + 1)  # half a digit a leaf
        _warn_of_outliers(trees, rounding)
        forest = f"{len(trees.column)} nodes, {trees.scale} binary digits, sums of leaves exact to {rounding:.1e}"
    account = f"layout: {forest}; {len(rules.steps)} rule steps, {rules.registers} registers"
    if net is not None:
        account += f"; a net of {net.members} members, widths {net.widths}, {len(net.column)} reads of bins"
    return replace(draft, tables=tables), account


def _warn_of_outliers(trees: TreeTable, rounding: float) -> None:
    """All leaves share one scale: one that is far larger than the others takes their digits."""
    if not len(trees.roots):
        return
    leaf = np.abs(trees.value[trees.column < 0]) * 2.0**-trees.scale
    usual = float(np.median(leaf)) * len(trees.roots)
    if rounding > PROMISED * max(1.0, usual):
        logger.warning(
            "the forest's largest leaf, %.3g, leaves the others %d binary digits: margins are exact to %.1e only. "
            "Train with a larger lambda or min_child_weight, or without the outliers",
            float(leaf.max()), trees.scale, rounding,
        )  # fmt: skip
