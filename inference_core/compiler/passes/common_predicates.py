"""Common predicates: equal numbers and truths of all rules become one, what several conditions ask together is asked once.

Shared truths get a register where that pays.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from inference_core.compiler.builder import Builder, pruned, rewrite
from inference_core.compiler.draft import Draft
from inference_core.compiler.factoring import factored
from inference_core.compiler.ir import AllOf, AnyOf, Not, ProgramIR, Truth


def run(draft: Draft) -> tuple[Draft, str]:
    """Return the draft with one node for each number and truth, and with the truths worth a register named."""
    builder = _Sharing(share=True)
    ir = pruned(rewrite(draft.ir, builder, truth=builder.shared))
    ir = pruned(factored(ir))
    ir = replace(ir, stored=_stored(ir))
    before, after = (len(of.numbers) + len(of.truths) for of in (draft.ir, ir))
    return replace(draft, ir=ir), f"common_predicates: {before} nodes became {after}, {len(ir.stored)} of them kept in registers"


class _Sharing(Builder):
    def shared(self, node: Truth) -> int:
        return self.connective(node) if isinstance(node, Not | AllOf | AnyOf) else self.truth(node)


def _stored(ir: ProgramIR) -> frozenset[int]:
    """Return the connectives with several users; a single predicate costs no more than reading its register would."""
    users: Counter[int] = Counter()
    for node in ir.truths:
        if isinstance(node, AllOf | AnyOf):
            users.update(_without_not(ir, arg) for arg in node.args)
    users.update(_without_not(ir, root) for root in set(ir.roots()))
    return frozenset(at for at, count in users.items() if count > 1 and isinstance(ir.truths[at], AllOf | AnyOf))


def _without_not(ir: ProgramIR, truth: int) -> int:
    node = ir.truths[truth]
    return _without_not(ir, node.a) if isinstance(node, Not) else truth
