"""Constant folding: arithmetic and comparisons that no row changes are done now, in float32 as they would be later."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from inference_core.compiler.builder import Builder, pruned, rewrite
from inference_core.compiler.draft import Draft
from inference_core.compiler.interpret import arithmetic, compare
from inference_core.compiler.ir import AllOf, AnyOf, Compare, Comparison, Constant, Derived, IsMissing, Not, Number, Truth


def run(draft: Draft) -> tuple[Draft, str]:
    """Return the draft with constants folded and connectives simplified."""
    folder = _Folder()
    ir = pruned(rewrite(draft.ir, folder, folder.fold_number, folder.fold_truth))
    before, after = (len(of.numbers) + len(of.truths) for of in (draft.ir, ir))
    return replace(draft, ir=ir), f"constant_folding: {before} nodes became {after}"


class _Folder(Builder):
    def fold_number(self, node: Number) -> int:
        if not isinstance(node, Derived):
            return self.number(node)
        a, b = self._constant(node.a), self._constant(node.b)
        if any(of is not None and math.isnan(of) for of in (a, b)):
            return self.number(Constant(math.nan))  # whatever the other operand is
        if a is None or b is None:
            return self.number(node)
        return self.number(Constant(float(arithmetic(node, np.float32(a), np.float32(b)))))

    def fold_truth(self, node: Truth) -> int:
        if isinstance(node, Not | AllOf | AnyOf):
            return self.connective(node)
        if isinstance(node, IsMissing):
            value = self._constant(node.a)
            return self.truth(node) if value is None else self.always(math.isnan(value))
        return self._fold_comparison(node) if isinstance(node, Compare) else self.truth(node)

    def _fold_comparison(self, node: Compare) -> int:
        a, b = self._constant(node.a), self._constant(node.b)
        if b is None:
            raise TypeError(f"{node} compares with a number that rows change")
        if a is not None:
            return self.always(bool(compare(node.op, np.float32(a), np.float32(b))))
        if math.isnan(b):
            return self.always(node.op is Comparison.NE)
        never = (node.op is Comparison.LT and b == -math.inf) or (node.op is Comparison.GT and b == math.inf)
        return self.always(False) if never else self.truth(node)

    def _constant(self, number: int) -> float | None:
        node = self.numbers[number]
        return node.value if isinstance(node, Constant) else None
