"""The table of cuts and derived columns."""

from __future__ import annotations

import numpy as np

from inference_core.compiler.draft import CutPlan
from inference_core.compiler.ir import Column, Constant, Derived, ProgramIR
from kernels.tables import DERIVATION, CutTable


def cut_table(ir: ProgramIR, cuts: CutPlan) -> CutTable:
    """Return the table that bins rows of this program."""
    counts = [count for of in cuts.sources for count in np.diff(of.starts)]
    return CutTable(
        cuts=np.concatenate([of.cuts for of in cuts.sources]) if cuts.sources else np.zeros(0, np.float32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        source=np.array([of.source for of in cuts.sources for _ in range(of.columns)], np.int32),
        features=ir.features,
        lists=ir.lists,
        derived=np.array([_derivation(ir, cuts, ir.numbers[number]) for number in cuts.derived], DERIVATION),
    )


def _derivation(ir: ProgramIR, cuts: CutPlan, node: Derived) -> tuple:
    (a, a_value), (b, b_value) = (_operand(ir, cuts, number) for number in (node.a, node.b))
    return (node.op, a, b, a_value, b_value)


def _operand(ir: ProgramIR, cuts: CutPlan, number: int) -> tuple[int, float]:
    node = ir.numbers[number]
    if isinstance(node, Constant):
        return -1, node.value
    return (node.position if isinstance(node, Column) else ir.features + cuts.derived_place[number]), 0.0
