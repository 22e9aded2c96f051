"""The rules as comparisons in float32 and truths joined by and, or and not."""

from __future__ import annotations

import numpy as np

from inference_core.compiler.ir import (
    AllOf,
    Always,
    Column,
    Compare,
    Comparison,
    Constant,
    Derived,
    InList,
    IsMissing,
    Not,
    ProgramIR,
)
from inference_core.export.graph import GraphWriter
from inference_core.outcomes import RuleOutcome
from kernels.tables import Arithmetic

_ARITHMETIC = {Arithmetic.ADD: "Add", Arithmetic.SUBTRACT: "Sub", Arithmetic.MULTIPLY: "Mul", Arithmetic.DIVIDE: "Div"}
_COMPARE = {
    Comparison.LT: "Less", Comparison.LE: "LessOrEqual", Comparison.GT: "Greater", Comparison.GE: "GreaterOrEqual",
    Comparison.EQ: "Equal",
}  # fmt: skip


def write_rules(graph: GraphWriter, ir: ProgramIR, x: str, memberships: str | None) -> str:
    """Return outcome codes [B, R] uint8 of x [B, F] float32 and memberships [B, L] bool (None: the program reads no list)."""
    writer = _Writer(graph, ir, x, memberships)
    codes = []
    for rule in ir.rules:
        code = writer.number_of_every_row(int(RuleOutcome.NO_HIT))
        for truth, outcome in (
            (rule.hit, RuleOutcome.HIT), (rule.insufficient, RuleOutcome.INSUFFICIENT_HISTORY), (rule.error, RuleOutcome.ERROR),
        ):  # fmt: skip
            code = graph.add("Where", writer.truth(truth), graph.constant([int(outcome)], np.int32), code)
        codes.append(code)
    return graph.cast(graph.add("Concat", *codes, axis=1), np.uint8)


class _Writer:
    """Nodes of the IR, each written when it is first read; all [B, 1]."""

    def __init__(self, graph: GraphWriter, ir: ProgramIR, x: str, memberships: str | None) -> None:
        self._graph, self._ir, self._x, self._memberships = graph, ir, x, memberships
        self._numbers: dict[int, str] = {}
        self._truths: dict[int, str] = {}

    def truth(self, at: int) -> str:
        if at not in self._truths:
            self._truths[at] = self._truth(self._ir.truths[at])
        return self._truths[at]

    def _truth(self, node) -> str:
        add = self._graph.add
        if isinstance(node, Always):
            return self._everywhere(node.value)
        if isinstance(node, Compare):
            a, b = self._number(node.a), self._number(node.b)
            if node.op is Comparison.NE:
                return add("Not", add("Equal", a, b))
            return add(_COMPARE[node.op], a, b)
        if isinstance(node, IsMissing):
            return add("IsNaN", self._number(node.a))
        if isinstance(node, InList):
            assert self._memberships is not None
            return self._graph.columns(self._memberships, [node.position])
        if isinstance(node, Not):
            return add("Not", self.truth(node.a))
        joined = self.truth(node.args[0]) if node.args else self._everywhere(isinstance(node, AllOf))
        for arg in node.args[1:]:
            joined = add("And" if isinstance(node, AllOf) else "Or", joined, self.truth(arg))
        return joined

    def number_of_every_row(self, value: int) -> str:
        """Return [B, 1] int32."""
        number = self._graph.constant([value], np.int32)
        return self._graph.add("Where", self._everywhere(True), number, number)

    def _everywhere(self, value: bool) -> str:
        """A truth of every row: the first column is either missing or it is not."""
        add = self._graph.add
        missing = add("IsNaN", self._graph.columns(self._x, [0]))
        return add("Or" if value else "And", missing, add("Not", missing))

    def _number(self, at: int) -> str:
        if at not in self._numbers:
            self._numbers[at] = self._written(self._ir.numbers[at])
        return self._numbers[at]

    def _written(self, node) -> str:
        graph = self._graph
        if isinstance(node, Constant):
            return graph.constant([[node.value]], np.float32)
        if isinstance(node, Column):
            return graph.columns(self._x, [node.position])
        assert isinstance(node, Derived)
        a, b = self._number(node.a), self._number(node.b)
        if node.op is not Arithmetic.ORDER:
            return graph.add(_ARITHMETIC[node.op], a, b)
        above, below = (graph.cast(graph.add(op, a, b), np.float32) for op in ("Greater", "Less"))
        unknown = graph.add("Or", graph.add("IsNaN", a), graph.add("IsNaN", b))
        return graph.add("Where", unknown, graph.constant([[np.nan]], np.float32), graph.add("Sub", above, below))
