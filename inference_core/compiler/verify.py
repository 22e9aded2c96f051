"""Checks between passes: the structure always, which is cheap; the numbers on sample rows in tests."""

from __future__ import annotations

import numpy as np

from inference_core.compiler.draft import Draft
from inference_core.compiler.interpret import Interpreted, interpret
from inference_core.compiler.ir import Column, InList, ProgramIR, numbers_under, truths_under
from inference_core.errors import ProgramError
from kernels.bin_features import bin_features
from kernels.path_contributions import path_contributions
from kernels.score_rows import score_rows
from kernels.tables import MAX_CUTS


def check_structure(draft: Draft) -> None:
    """Refuse a draft whose parts name what is not there.

    Raises:
        ProgramError: with the place; where a pass and not the caller is at fault, this is a bug of the pass.
    """
    ir = draft.ir
    _check_nodes(ir)
    for tree in ir.trees or ():
        if tree.feature.max(initial=-1) >= ir.features:
            raise ProgramError(f"tree {tree.number} tests feature {tree.feature.max()}, but there are {ir.features}")
    if ir.net is not None:
        names, columns = len(ir.net.net.feature_names), ir.net.columns
        if ir.trees is None:
            raise ProgramError("a net stands beside a forest, and there is none")
        _require(len(columns) == names and all(0 <= column < ir.features for column in columns), "the net reads no column of x")
    if draft.cuts is not None:
        _check_cuts(draft)
    if draft.tables is not None:
        _check_tables(draft)


def _check_nodes(ir: ProgramIR) -> None:
    for at, node in enumerate(ir.numbers):
        _require(all(0 <= below < at for below in numbers_under(node)), f"number {at} reads one that comes later")
        _require(not isinstance(node, Column) or 0 <= node.position < ir.features, f"number {at} reads no column of x")
    for at, node in enumerate(ir.truths):
        _require(all(0 <= below < at for below in truths_under(node)), f"truth {at} reads one that comes later")
        _require(all(0 <= below < len(ir.numbers) for below in numbers_under(node)), f"truth {at} reads no number")
        _require(not isinstance(node, InList) or 0 <= node.position < ir.lists, f"truth {at} reads no list")
    for rule in ir.rules:
        inside = all(0 <= truth < len(ir.truths) for truth in (rule.hit, rule.insufficient, rule.error))
        _require(inside, f"rule {rule.rule_id} reads a truth that is not there")
    _require(all(0 <= truth < len(ir.truths) for truth in ir.stored), "a stored truth is not there")


def _check_cuts(draft: Draft) -> None:
    columns = 0
    for of in draft.cuts.sources:
        _require(of.first_column == columns, f"the bin columns of source {of.source} do not follow those before")
        _require(np.diff(of.starts).max() <= MAX_CUTS, f"a bin column of source {of.source} has too many cuts")
        _require(of.source < draft.ir.features + len(draft.cuts.derived), f"source {of.source} is not there")
        columns += of.columns


def _check_tables(draft: Draft) -> None:
    """Check what the tables do not check of themselves."""
    tables = draft.tables
    _require(tables.rules.rules == len(draft.ir.rules), "the rule table has another number of rules")
    _require((tables.trees is None) == (draft.ir.trees is None), "the forest was lost")
    _require((tables.net is None) == (draft.ir.net is None), "the net was lost")
    _require(tables.cuts.columns == draft.cuts.columns, "the cut table has another number of columns")
    if tables.trees is not None:
        value = tables.trees.value
        _require(len(tables.trees.roots) == len(draft.ir.trees), "trees were lost")
        _require(np.abs(value.astype(np.int64)).max(initial=0) < 2**30, "differences of leaves do not fit into int32")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ProgramError(f"the compiler made an unsound program: {what}; please report this")


# --- numbers on sample rows ----------------------------------------------------------------------------------------------


def evaluate(draft: Draft, x: np.ndarray, memberships: np.ndarray) -> Interpreted:
    """Return what a draft says of rows x [B, F] and memberships [B, L], in the most finished form that it has."""
    if draft.tables is None:
        return interpret(draft.ir, x, memberships, draft.cuts)
    tables = draft.tables
    scored = score_rows(tables, x, memberships)
    contributions = np.zeros(x.shape, np.float32)
    if tables.trees is not None:
        contributions = path_contributions(tables.trees, bin_features(tables.cuts, x, memberships))[1]
    return Interpreted(scored.bits.codes(tables.rules.rules), scored.margin, contributions)


def check_numbers(expected: Interpreted, got: Interpreted, tolerance: float = 1e-6) -> None:
    """Refuse other outcomes, or margins and contributions further apart than `tolerance` (relative and absolute).

    Raises:
        ProgramError: with the first row that differs.
    """
    differing = np.flatnonzero((expected.rule_outcomes != got.rule_outcomes).any(axis=1))
    _require(not len(differing), f"row {differing[:1]} has other rule outcomes")
    for name in ("margin", "contributions"):
        a, b = getattr(expected, name), getattr(got, name)
        far = ~np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
        _require(not far.any(), f"row {np.argwhere(far)[:1]} has another {name}")
