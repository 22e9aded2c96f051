"""Decides by the bytes that fusion saves: what operations one after another read and write, against what one kernel does."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inference_core.fusion.ir import Graph, Kind, LargeLayer, Node, NotFusable
from inference_core.fusion.operations import LEAVES, REDUCTIONS, VIEWS, cost_of
from inference_core.fusion.placement import is_number

# Multiplications that one instruction does; an operation on elements of cost 1 takes one for each element, near enough.
LANES = 16
_BYTES = {Kind.NUMBER: 4, Kind.TRUTH: 1, Kind.POSITION: 8}
# Multiplications a row, as measured on a core with AVX-512: beyond them the library's blocking over all caches is better.
LARGEST = {"linear": 4_000_000, "conv2d": 300_000}


@dataclass(frozen=True)
class Traffic:
    """Bytes that are read and written: for each row, and once a call whatever the rows."""

    per_row: int
    once: int


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    apart, fused: traffic of the operations one after another, and of one kernel.
    calls: operations that PyTorch would run.
    """

    apart: Traffic
    fused: Traffic
    calls: int

    def account(self) -> str:
        saved = self.apart.per_row - self.fused.per_row
        return (
            f"{self.calls} operations move {self.apart.per_row} bytes a row, the fused kernel {self.fused.per_row}: "
            f"{saved} saved ({saved / max(1, self.apart.per_row):.0%}); once a call {self.apart.once} and {self.fused.once}"
        )


def judge(recorded: Graph, final: Graph, calls: int) -> Verdict:
    """Return what fusing saves.

    Args:
        recorded: the graph as the function says it; final: the one that is emitted.
        calls: operations of the function, views left out.

    Raises:
        LargeLayer: a layer is so large that the library does it better.
        NotFusable: there is nothing to save.
    """
    verdict = traffic(recorded, final, calls)
    for node in final.nodes:
        multiplications = work_of(final, node) * LANES
        if multiplications > LARGEST.get(node.op, multiplications) and calls > 1:
            raise LargeLayer(f"a {node.op} of {multiplications} multiplications a row: the library's own is the better one")
    if calls < 2:
        raise NotFusable("one operation by itself: there is nothing to fuse it with")
    if verdict.fused.per_row >= verdict.apart.per_row and verdict.fused.once >= verdict.apart.once:
        raise NotFusable(f"no bytes are saved: {verdict.account()}")
    return verdict


def traffic(recorded: Graph, final: Graph, calls: int) -> Verdict:
    """Return what both ways move, whatever that says."""
    return Verdict(_apart(recorded), _fused(final), calls)


def _size(node: Node) -> int:
    return 0 if is_number(node) else node.elements * _BYTES[node.kind]


def _apart(graph: Graph) -> Traffic:
    per_row = once = 0
    for node in graph.nodes:
        if node.op in LEAVES or node.op in VIEWS:
            continue
        for touched in (node, *(graph.nodes[arg] for arg in node.args)):
            per_row += _size(touched) * touched.varies
            once += _size(touched) * (not touched.varies)
    return Traffic(per_row, once)


def _fused(graph: Graph) -> Traffic:
    varying = [node for node in graph.nodes if node.op == "argument" and node.varies]
    results = [graph.nodes[at] for at in dict.fromkeys(graph.outputs)]
    read = {arg for node in graph.nodes if node.varies for arg in node.args if not graph.nodes[arg].varies}
    return Traffic(sum(map(_size, [*varying, *results])), sum(_size(graph.nodes[at]) for at in read))


def work_of(graph: Graph, node: Node) -> int:
    """Return about how many multiplications a row of a value takes."""
    if not node.varies:
        return 0
    if node.op == "linear":
        return math.prod(graph.nodes[node.args[1]].row) // LANES
    if node.op == "conv2d":
        return math.prod(graph.nodes[node.args[1]].row) * math.prod(node.row[1:]) // LANES
    if node.op in REDUCTIONS:
        return graph.nodes[node.args[0]].elements
    return cost_of(node.op) * node.elements
