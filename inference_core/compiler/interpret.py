"""Plain evaluation of the IR on float rows: slow, and the truth that passes and kernels are checked against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.compiler.draft import CutPlan
from inference_core.compiler.ir import (
    AllOf,
    Always,
    AnyOf,
    Column,
    Compare,
    Comparison,
    Constant,
    Derived,
    InList,
    IsMissing,
    Not,
    ProgramIR,
    Tree,
    Truth,
)
from inference_core.outcomes import RuleOutcome
from kernels.tables import Arithmetic

_COMPARE = {
    Comparison.LT: np.less, Comparison.LE: np.less_equal, Comparison.GT: np.greater, Comparison.GE: np.greater_equal,
    Comparison.EQ: np.equal, Comparison.NE: np.not_equal,
}  # fmt: skip
_JOIN = {
    Arithmetic.ADD: np.add, Arithmetic.SUBTRACT: np.subtract, Arithmetic.MULTIPLY: np.multiply, Arithmetic.DIVIDE: np.divide,
}  # fmt: skip


@dataclass(frozen=True)
class Interpreted:
    """Attributes:
    rule_outcomes: [B, R] uint8 RuleOutcome codes.
    margin: [B] float64; NaN without trees.
    contributions: [B, F] float64, without the net's.
    """

    rule_outcomes: np.ndarray
    margin: np.ndarray
    contributions: np.ndarray


def interpret(ir: ProgramIR, x: np.ndarray, memberships: np.ndarray, cuts: CutPlan | None = None) -> Interpreted:
    """Evaluate rules, trees and net on x [B, F] float32 and memberships [B, L] bool.

    With `cuts`, tests see of each value only between which cuts it lies.
    """
    floored = _floored(x, cuts)
    margin, contributions = _forest(ir, floored)
    if ir.net is not None:
        margin = margin + ir.net.logits(floored)
    return Interpreted(_outcomes(ir, x, memberships, cuts), margin, contributions)


def _outcomes(ir: ProgramIR, x: np.ndarray, memberships: np.ndarray, cuts: CutPlan | None) -> np.ndarray:
    numbers = _numbers(ir, x)
    if cuts is not None:
        read = {node.a for node in ir.truths if isinstance(node, Compare | IsMissing)}
        numbers = [cuts.of_number(ir, i).lowest_alike(of) if i in read else of for i, of in enumerate(numbers)]
    truths: list[np.ndarray] = []
    for node in ir.truths:
        truths.append(_truth(node, numbers, truths, memberships, len(x)))
    outcomes = np.full((len(x), len(ir.rules)), RuleOutcome.NO_HIT, np.uint8)
    for r, rule in enumerate(ir.rules):
        for truth, code in (
            (rule.hit, RuleOutcome.HIT), (rule.insufficient, RuleOutcome.INSUFFICIENT_HISTORY), (rule.error, RuleOutcome.ERROR),
        ):  # fmt: skip
            outcomes[truths[truth], r] = code
    return outcomes


def _numbers(ir: ProgramIR, x: np.ndarray) -> list[np.ndarray]:
    values: list[np.ndarray] = []
    for node in ir.numbers:
        if isinstance(node, Constant):
            values.append(np.full(len(x), node.value, np.float32))
        elif isinstance(node, Column):
            values.append(x[:, node.position])
        else:
            values.append(arithmetic(node, values[node.a], values[node.b]))
    return values


def arithmetic(node: Derived, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a and b, both float32, joined by the node's operation."""
    with np.errstate(all="ignore"):
        if node.op is not Arithmetic.ORDER:
            return _JOIN[node.op](a, b)
        order = np.where(a < b, np.float32(-1), np.where(a > b, np.float32(1), np.float32(0)))
        return np.where((a != a) | (b != b), np.float32(np.nan), order)


def _truth(node: Truth, numbers: list, truths: list, memberships: np.ndarray, rows: int) -> np.ndarray:
    if isinstance(node, Always):
        return np.full(rows, node.value)
    if isinstance(node, Compare):
        return compare(node.op, numbers[node.a], numbers[node.b])
    if isinstance(node, IsMissing):
        return np.isnan(numbers[node.a])
    if isinstance(node, InList):
        return memberships[:, node.position]
    if isinstance(node, Not):
        return ~truths[node.a]
    args = [truths[arg] for arg in node.args]
    return (np.logical_and if isinstance(node, AllOf) else np.logical_or).reduce(args, axis=0) if args else _empty(node, rows)


def compare(op: Comparison, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return float32 comparisons; with NaN all are false but NE."""
    with np.errstate(invalid="ignore"):
        return _COMPARE[op](a, b)


def _empty(node: AllOf | AnyOf, rows: int) -> np.ndarray:
    return np.full(rows, not isinstance(node, AnyOf))


def _floored(x: np.ndarray, cuts: CutPlan | None) -> np.ndarray:
    if cuts is None:
        return x
    floored = np.full_like(x, np.nan)  # a column without cuts is tested by no tree
    for column in range(x.shape[1]):
        if column in cuts.by_source:
            floored[:, column] = cuts.by_source[column].lowest_alike(x[:, column])
    return floored


def _forest(ir: ProgramIR, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    contributions = np.zeros((len(x), ir.features))
    if ir.trees is None:
        return np.full(len(x), np.nan), contributions
    margin = np.full(len(x), ir.base)
    for tree in ir.trees:
        margin += _walk(tree, x, contributions)
    return margin, contributions


def _walk(tree: Tree, x: np.ndarray, contributions: np.ndarray) -> np.ndarray:
    """Return the leaves' values, and add what each step changes to the feature that it tests."""
    rows, at = np.arange(len(x)), np.zeros(len(x), np.int64)
    for _ in range(tree.depth):
        feature = tree.feature[at]
        value = x[rows, np.maximum(feature, 0)]
        goes_left = np.where(np.isnan(value), tree.default_left[at], value < tree.threshold[at])
        below = np.where(feature < 0, at, tree.left[at] + ~goes_left)
        contributions[rows, np.maximum(feature, 0)] += tree.value[below] - tree.value[at]
        at = below
    return tree.value[at]
