"""Layout: cuts, trees and rules become the tables that the kernels read."""

from __future__ import annotations

from dataclasses import replace

from inference_core.compiler.draft import Draft
from inference_core.compiler.tables.cut_table import cut_table
from inference_core.compiler.tables.rule_table import rule_table
from inference_core.compiler.tables.tree_table import tree_table
from kernels.score_rows import ScoreTables


def run(draft: Draft) -> tuple[Draft, str]:
    """Return the draft with its tables.

    Raises:
        ProgramError: the tables cannot hold so much; the message names what is too large.
    """
    if draft.cuts is None:
        raise TypeError("layout needs the cuts: run cut_union first")
    trees = tree_table(draft.ir, draft.cuts)
    rules = rule_table(draft.ir, draft.cuts)
    tables = ScoreTables(cut_table(draft.ir, draft.cuts), rules, trees)
    forest = "no trees"
    if trees is not None:
        rounding = len(trees.roots) * 2.0 ** -(trees.scale + 1)  # half a digit a leaf
        forest = f"{len(trees.column)} nodes, {trees.scale} binary digits, sums of leaves exact to {rounding:.1e}"
    return replace(draft, tables=tables), f"layout: {forest}; {len(rules.steps)} rule steps, {rules.registers} registers"
