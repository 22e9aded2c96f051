"""Pairs of truths that several conditions ask together become a truth of their own, the most frequent pair first.

The greedy extraction of common divisors of logic synthesis (Brayton and McMullen 1982), on conjunctions of two. By De
Morgan's law a disjunction is a conjunction of the opposites, so that `not a or not b or c` shares with `a and b`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import replace
from itertools import combinations

from inference_core.compiler.builder import Builder
from inference_core.compiler.ir import AllOf, AnyOf, Compare, IsMissing, Not, ProgramIR, RuleTruths

# Pairs grow with the square; what is longer asks for many things once.
_LONGEST = 32


def factored(ir: ProgramIR) -> ProgramIR:
    """Return the IR, whose equal nodes are one, with its frequent pairs taken out."""
    conjunctions = {
        at: {_literal(ir, arg) ^ isinstance(node, AnyOf) for arg in node.args}
        for at, node in enumerate(ir.truths)
        if isinstance(node, AllOf | AnyOf)
    }
    pairs = _Pairs({at: of - _same_number(ir, of) for at, of in conjunctions.items() if len(of) <= _LONGEST})
    made: dict[int, tuple[int, int]] = {}
    while (pair := pairs.most_frequent()) is not None:
        new = len(ir.truths) + len(made)
        made[new] = pair
        for at in pairs.take_out(pair, 2 * new):
            conjunctions[at] = conjunctions[at] - set(pair) | {2 * new}
    return _Rebuilder(ir, conjunctions | {new: set(pair) for new, pair in made.items()}).rebuilt() if made else ir


def _literal(ir: ProgramIR, truth: int) -> int:
    """Return twice the truth below all negations, plus one if it is negated."""
    node = ir.truths[truth]
    return _literal(ir, node.a) ^ 1 if isinstance(node, Not) else 2 * truth


def _same_number(ir: ProgramIR, literals: set[int]) -> set[int]:
    """Return those that ask about a number that another one asks about too: in bins they may be one test."""
    numbers = {of: ir.truths[of // 2].a for of in literals if isinstance(ir.truths[of // 2], Compare | IsMissing)}
    count = Counter(numbers.values())
    return {of for of, number in numbers.items() if count[number] > 1}


class _Pairs:
    """How often each pair of literals occurs together."""

    def __init__(self, literals: dict[int, set[int]]) -> None:
        self._literals = literals
        self._users: dict[int, set[int]] = {}
        self._count: Counter[tuple[int, int]] = Counter()
        for at, of in literals.items():
            self._count.update(combinations(sorted(of), 2))
            for literal in of:
                self._users.setdefault(literal, set()).add(at)
        self._heap = [(-count, pair) for pair, count in self._count.items() if count > 1]
        heapq.heapify(self._heap)

    def most_frequent(self) -> tuple[int, int] | None:
        """Return a pair that occurs more than once and most often, or None."""
        while self._heap:
            count, pair = heapq.heappop(self._heap)
            now = self._count[pair]
            if now == -count:
                return pair
            if now > 1:
                heapq.heappush(self._heap, (-now, pair))
        return None

    def take_out(self, pair: tuple[int, int], new: int) -> list[int]:
        """Put `new` in the place of the pair wherever it occurs; return where that was."""
        places = sorted(self._users[pair[0]] & self._users[pair[1]])
        self._users[new] = set(places)
        for at in places:
            rest = self._literals[at].difference(pair)
            for literal in pair:
                self._users[literal].discard(at)
                self._count.subtract(tuple(sorted((literal, other))) for other in rest)
            self._count[pair] -= 1
            grown = [tuple(sorted((new, other))) for other in rest]
            self._count.update(grown)
            for of in grown:
                if self._count[of] > 1:
                    heapq.heappush(self._heap, (-self._count[of], of))
            self._literals[at] = rest | {new}
        return places


class _Rebuilder:
    """Writes an IR whose connectives were changed; the new truths come before their first users."""

    def __init__(self, ir: ProgramIR, conjunctions: dict[int, set[int]]) -> None:
        self._ir, self._conjunctions = ir, conjunctions
        self._builder = Builder(share=True)
        self._placed: dict[int, int] = {}

    def rebuilt(self) -> ProgramIR:
        at = self._place
        rules = tuple(RuleTruths(of.rule_id, at(of.hit), at(of.insufficient), at(of.error)) for of in self._ir.rules)
        return replace(self._ir, truths=tuple(self._builder.truths), rules=rules, stored=frozenset())

    def _place(self, truth: int) -> int:
        if truth not in self._placed:
            self._placed[truth] = self._written(truth)
        return self._placed[truth]

    def _written(self, truth: int) -> int:
        node = self._ir.truths[truth] if truth < len(self._ir.truths) else AllOf(())
        if isinstance(node, Not):
            return self._builder.negation(self._place(node.a))
        if not isinstance(node, AllOf | AnyOf):
            return self._builder.truth(node)
        opposite = isinstance(node, AnyOf)
        args = []
        for literal in sorted(self._conjunctions[truth]):
            placed = self._place(literal // 2)
            args.append(self._builder.negation(placed) if (literal & 1) ^ opposite else placed)
        return args[0] if len(args) == 1 else self._builder.truth(type(node)(tuple(args)))
