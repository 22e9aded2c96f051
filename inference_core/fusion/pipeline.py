"""The passes in their order, with what each says about its work."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from inference_core.fusion.ir import Graph
from inference_core.fusion.passes import affine_folding, common_subexpressions, decompose, simplify

PASSES: tuple[ModuleType, ...] = (decompose, simplify, affine_folding, common_subexpressions)


def stages(graph: Graph, fold: bool = True) -> Iterator[tuple[Graph, str]]:
    """Yield the graph after each pass, with the pass's account.

    Args:
        fold: False where constants may change unseen (batch_norm's statistics on a GPU): the kernel then reads them itself.
    """
    for step in PASSES:
        if step is affine_folding and not fold:
            yield graph, "affine_folding: left out, the kernel reads batch_norm's statistics itself"
            continue
        graph, account = step.run(graph)
        yield graph, account
