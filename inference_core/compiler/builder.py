"""Building and rewriting the IR: nodes are appended, simplified or shared, and what nothing reads is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from inference_core.compiler.ir import (
    AllOf,
    Always,
    AnyOf,
    Column,
    Compare,
    Constant,
    Derived,
    InList,
    IsMissing,
    Not,
    Number,
    ProgramIR,
    RuleTruths,
    Truth,
    numbers_under,
    truths_under,
)


class Builder:
    """Collects the nodes of a new IR; with `share`, equal nodes are one."""

    def __init__(self, *, share: bool = False) -> None:
        self.numbers: list[Number] = []
        self.truths: list[Truth] = []
        self._known: dict | None = {} if share else None

    def number(self, node: Number) -> int:
        """Add a number and return its position."""
        return self._add(self.numbers, node)

    def truth(self, node: Truth) -> int:
        """Add a truth and return its position."""
        return self._add(self.truths, node)

    def _add(self, nodes: list, node: Number | Truth) -> int:
        if self._known is None:
            nodes.append(node)
            return len(nodes) - 1
        # NaN differs from itself and -0.0 does not differ from 0.0, so constants are known by their bits.
        key = np.float32(node.value).tobytes() if isinstance(node, Constant) else node
        found = self._known.get(key)
        if found is None:
            nodes.append(node)
            found = self._known[key] = len(nodes) - 1
        return found

    def always(self, value: bool) -> int:
        return self.truth(Always(value))

    def negation(self, a: int) -> int:
        """Add not a, simplified."""
        node = self.truths[a]
        if isinstance(node, Always):
            return self.always(not node.value)
        return node.a if isinstance(node, Not) else self.truth(Not(a))

    def all_of(self, args: tuple[int, ...]) -> int:
        """Add the conjunction, simplified."""
        return self._connect(AllOf, args, neutral=True)

    def any_of(self, args: tuple[int, ...]) -> int:
        """Add the disjunction, simplified."""
        return self._connect(AnyOf, args, neutral=False)

    def _connect(self, kind: type[AllOf] | type[AnyOf], args: tuple[int, ...], *, neutral: bool) -> int:
        kept: dict[int, None] = {}
        for arg in args:
            node = self.truths[arg]
            if isinstance(node, Always):
                if node.value is not neutral:
                    return self.always(not neutral)
                continue
            kept.update(dict.fromkeys(node.args if isinstance(node, kind) else (arg,)))
        if len(kept) < 2:
            return next(iter(kept)) if kept else self.always(neutral)
        return self.truth(kind(tuple(sorted(kept))))

    def connective(self, node: Not | AllOf | AnyOf) -> int:
        """Add a connective, simplified."""
        if isinstance(node, Not):
            return self.negation(node.a)
        return self.all_of(node.args) if isinstance(node, AllOf) else self.any_of(node.args)


def rewrite(
    ir: ProgramIR,
    builder: Builder,
    number: Callable[[Number], int] | None = None,
    truth: Callable[[Truth], int] | None = None,
) -> ProgramIR:
    """Return the IR with each node that a rule reads passed through `number` or `truth`, which add it to `builder`.

    The nodes that the two functions get already name operands of the new IR.
    """
    number, truth = number or builder.number, truth or builder.truth
    read_numbers, read_truths = _read(ir)
    numbers: dict[int, int] = {}
    for old in read_numbers:
        numbers[old] = number(_moved(ir.numbers[old], numbers, {}))
    truths: dict[int, int] = {}
    for old in read_truths:
        truths[old] = truth(_moved(ir.truths[old], numbers, truths))
    rules = tuple(RuleTruths(r.rule_id, truths[r.hit], truths[r.insufficient], truths[r.error]) for r in ir.rules)
    stored = frozenset(truths[old] for old in ir.stored if old in truths)
    return replace(ir, numbers=tuple(builder.numbers), truths=tuple(builder.truths), rules=rules, stored=stored)


def pruned(ir: ProgramIR) -> ProgramIR:
    """Return the IR without nodes that no rule reads."""
    return rewrite(ir, Builder())


def _read(ir: ProgramIR) -> tuple[list[int], list[int]]:
    """Return the numbers and truths that the rules read, operands first."""
    numbers, truths = [False] * len(ir.numbers), [False] * len(ir.truths)
    for root in ir.roots():
        truths[root] = True
    for at in reversed(range(len(truths))):
        if truths[at]:
            for below in truths_under(ir.truths[at]):
                truths[below] = True
            for below in numbers_under(ir.truths[at]):
                numbers[below] = True
    for at in reversed(range(len(numbers))):
        if numbers[at]:
            for below in numbers_under(ir.numbers[at]):
                numbers[below] = True
    return [i for i, read in enumerate(numbers) if read], [i for i, read in enumerate(truths) if read]


def _moved(node, numbers: dict[int, int], truths: dict[int, int]):
    """Return the node with its operands at their new positions."""
    if isinstance(node, Always | InList | Constant | Column):
        return node
    if isinstance(node, Derived | Compare):
        return type(node)(node.op, numbers[node.a], numbers[node.b])
    if isinstance(node, IsMissing):
        return IsMissing(numbers[node.a])
    return Not(truths[node.a]) if isinstance(node, Not) else type(node)(tuple(truths[arg] for arg in node.args))
