"""From the rules' expression trees to the IR, as they are written: nothing is simplified or shared here."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference_core.compiler.builder import Builder
from inference_core.compiler.ir import (
    MIRRORED,
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
    RuleTruths,
    Tree,
    numbers_under,
)
from inference_core.rules.definition import Rule
from inference_core.rules.expressions import ARITHMETIC, COMPARISONS, check_expression
from inference_core.schema import FeatureSchema
from kernels.tables import Arithmetic


def lower_program(
    schema: FeatureSchema, rules: tuple[Rule, ...], list_names: tuple[str, ...], trees: tuple[Tree, ...] | None, base: float
) -> ProgramIR:
    """Return the IR of rules and trees.

    Raises:
        RuleError: a rule names an unknown feature or list, or is not well formed; with its place as a JSON Pointer.
    """
    builder = Builder()
    lists = {name: i for i, name in enumerate(list_names)}
    features, known_lists = frozenset(schema.names), frozenset(list_names)
    lowered = []
    for rule in rules:
        for expression in (rule.when, rule.requires):
            if expression is not None:
                check_expression(expression, features, known_lists, rule_id=rule.rule_id)
        lowered.append(_rule(rule, schema, lists, builder))
    return ProgramIR(
        schema.width, len(list_names), tuple(builder.numbers), tuple(builder.truths), tuple(lowered), trees, base
    )


def _rule(rule: Rule, schema: FeatureSchema, lists: dict[str, int], builder: Builder) -> RuleTruths:
    """Errors first: where `requires` fails the rule does; where it is false, `when` means nothing, its faults included."""
    when, fault = _Expression(schema, lists, builder).lower(rule.when)
    if rule.requires is None:
        met, unclear = builder.truth(Always(True)), builder.truth(Always(False))
    else:
        met, unclear = _Expression(schema, lists, builder).lower(rule.requires)
    clear, sound = builder.truth(Not(unclear)), builder.truth(Not(fault))
    return RuleTruths(
        rule.rule_id,
        hit=builder.truth(AllOf((clear, met, sound, when))),
        insufficient=builder.truth(AllOf((clear, builder.truth(Not(met))))),
        error=builder.truth(AnyOf((unclear, builder.truth(AllOf((met, fault)))))),
    )


class _Expression:
    """Lowers one checked expression and collects what can go wrong in it."""

    def __init__(self, schema: FeatureSchema, lists: dict[str, int], builder: Builder) -> None:
        self._schema, self._lists, self._builder = schema, lists, builder
        self._faults: list[int] = []

    def lower(self, expression: dict[str, Any]) -> tuple[int, int]:
        """Return the truth of the expression, and the truth that it failed."""
        truth = self._truth(expression)
        return truth, self._builder.truth(AnyOf(tuple(self._faults)) if self._faults else Always(False))

    def _truth(self, node: dict[str, Any]) -> int:
        add = self._builder.truth
        if "in_list" in node:
            return add(InList(self._lists[node["in_list"]]))
        op, args = node["op"], node["args"]
        if op in COMPARISONS:
            return self._comparison(Comparison(op), *map(self._number, args))
        if op == "is_missing":
            return add(IsMissing(self._number(args[0])))
        truths = tuple(map(self._truth, args))
        if op == "not":
            return add(Not(truths[0]))
        return add(AllOf(truths) if op == "and" else AnyOf(truths))

    def _comparison(self, op: Comparison, a: int, b: int) -> int:
        """Two numbers that rows change are compared by their order; float32 differences could overflow or vanish."""
        if not self._is_fixed(a) and not self._is_fixed(b):
            a, b = self._builder.number(Derived(Arithmetic.ORDER, a, b)), self._builder.number(Constant(0.0))
        elif not self._is_fixed(b):
            op, a, b = MIRRORED[op], b, a
        return self._builder.truth(Compare(op, a, b))

    def _is_fixed(self, number: int) -> bool:
        node = self._builder.numbers[number]
        return not isinstance(node, Column) and all(map(self._is_fixed, numbers_under(node)))

    def _number(self, node: dict[str, Any]) -> int:
        add = self._builder.number
        if "number" in node:
            with np.errstate(over="ignore"):
                return add(Constant(float(np.float32(node["number"]))))
        if "feature" in node:
            return add(Column(self._schema.index(node["feature"])))
        a, b = map(self._number, node["args"])
        if node["op"] == "divide":
            self._faults.append(self._comparison(Comparison.EQ, b, add(Constant(0.0))))
        return add(Derived(_ARITHMETIC[node["op"]], a, b))


_ARITHMETIC = {name: Arithmetic[name.upper()] for name in ARITHMETIC}
