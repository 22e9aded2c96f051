"""The passes in their order, with what each says about its work."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from inference_core.fusion.ir import Graph
from inference_core.fusion.passes import affine_folding, common_subexpressions, decompose, simplify

PASSES: tuple[ModuleType, ...] = (decompose, simplify, affine_folding, common_subexpressions)


def stages(graph: Graph) -> Iterator[tuple[Graph, str]]:
    """Yield the graph after each pass, with the pass's account."""
    for step in PASSES:
        graph, account = step.run(graph)
        yield graph, account
