"""Dead rules: conditions that contradict themselves are found, and rules of which nothing is left lose their code.

A dead rule keeps its place in the order of the outcomes; its register is NEVER.
"""

from __future__ import annotations

import math
from dataclasses import replace

from inference_core.compiler.builder import Builder, pruned, rewrite
from inference_core.compiler.draft import Draft
from inference_core.compiler.ir import AllOf, Always, AnyOf, Compare, Derived, IsMissing, Not, ProgramIR, Truth
from inference_core.compiler.ranges import Range, range_of


def run(draft: Draft) -> tuple[Draft, str]:
    """Return the draft with contradictions replaced by what they are: never."""
    finder = _Finder(draft.ir)
    ir = pruned(rewrite(draft.ir, finder, truth=finder.simplified))
    dead = [rule.rule_id for rule in ir.rules if all(_is_never(ir, at) for at in (rule.hit, rule.insufficient, rule.error))]
    named = f": {', '.join(dead[:10])}{' and others' if len(dead) > 10 else ''}" if dead else ""
    return replace(draft, ir=ir), f"dead_rules: {len(dead)} of {len(ir.rules)} rules can do nothing{named}"


def _is_never(ir: ProgramIR, truth: int) -> bool:
    node = ir.truths[truth]
    return isinstance(node, Always) and not node.value


class _Finder(Builder):
    def __init__(self, ir: ProgramIR) -> None:
        super().__init__()
        self._ir = ir

    def simplified(self, node: Truth) -> int:
        if not isinstance(node, Not | AllOf | AnyOf):
            return self.truth(node)
        added = self.connective(node)
        final = self.truths[added]
        return self.always(False) if isinstance(final, AllOf) and self._contradicts(final) else added

    def _contradicts(self, node: AllOf) -> bool:
        """Whether no value of some number lies within all the ranges that are asked of it."""
        asked: dict = {}
        for arg in node.args:
            found = self._range(arg)
            if found is None:
                continue
            key = self._key(found.number)
            present, low, high = asked.get(key, (False, -math.inf, None))
            if found.negated:
                if found.low is None and found.high is None:  # asks for a missing value
                    asked[key] = (present, low, -math.inf)
                continue
            low = low if found.low is None else max(low, found.low)
            high = found.high if high is None else high if found.high is None else min(high, found.high)
            asked[key] = (True, low, high)
        return any(present and high is not None and low >= high for present, low, high in asked.values())

    def _range(self, truth: int) -> Range | None:
        node = self.truths[truth]
        if isinstance(node, Compare | IsMissing):
            return range_of(self, node)
        return None

    def _key(self, number: int):
        """Equal numbers have equal keys; they are not shared yet."""
        node = self.numbers[number]
        return (node.op, self._key(node.a), self._key(node.b)) if isinstance(node, Derived) else node
