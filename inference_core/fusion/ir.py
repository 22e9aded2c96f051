"""The representation that a fused function is brought into: values of one row, and how they come from one another.

A batch is rows; every operation here looks at one row alone, so that any number of rows runs through the same code. `row` is a
value's shape without the batch; a value that does not vary from row to row has no batch dimension at all.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


class Kind(enum.StrEnum):
    """What a value's elements are."""

    NUMBER = "float32"
    TRUTH = "bool"
    POSITION = "int64"


class NotFusable(Exception):
    """The function, or this use of it, cannot be fused; the message says why, for explain()."""


class LargeLayer(NotFusable):
    """A layer is so large that the library does it better; what stands behind it may still be folded into it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One value.

    Attributes:
        op: "argument", "constant", a name in operations.ELEMENTWISE or operations.REDUCTIONS, a view ("reshape", "narrow",
            "transpose"), "linear" (x, w [N, K], perhaps b), "conv2d" (x, w [O, C, H, W], perhaps b), or a composite that the
            pass `decompose` takes apart ("softmax", "batch_norm").
        args: positions of the operands, all before this node.
        row: shape without the batch.
        varies: whether it has a batch dimension.
        value: what else the operation must know: an argument's position, a constant's number, where a narrowing starts,
            (stride, padding, dilation) of a convolution, epsilon of a normalisation.
    """

    op: str
    args: tuple[int, ...] = ()
    row: tuple[int, ...] = ()
    varies: bool = False
    kind: Kind = Kind.NUMBER
    value: Any = None

    @property
    def elements(self) -> int:
        """How many elements a row has."""
        return math.prod(self.row)


@dataclass(frozen=True)
class Graph:
    """Attributes:
    nodes: operands before their users.
    outputs: what the function returns.
    single: whether it returns a tensor by itself rather than a tuple.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    single: bool = True

    def users(self) -> list[list[int]]:
        """Return for each node who reads it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for at, node in enumerate(self.nodes):
            for arg in node.args:
                found[arg].append(at)
        return found


class Builder:
    """Adds nodes; the helpers work shapes out as PyTorch broadcasts, and refuse what would mix rows."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def constant(self, value: float) -> int:
        return self.add(Node("constant", value=float(value)))

    def reshape(self, a: int, row: tuple[int, ...]) -> int:
        """Return the same elements under another shape."""
        node = self.nodes[a]
        return a if node.row == row else self.add(Node("reshape", (a,), row, node.varies, node.kind))

    def elementwise(self, op: str, *args: int, kind: Kind = Kind.NUMBER) -> int:
        """Return an operation on values that are broadcast against one another.

        Raises:
            NotFusable: the shapes do not fit, or the batch would meet another dimension.
        """
        ranks = {len(self.nodes[a].row) for a in args if self.nodes[a].varies}
        if len(ranks) > 1:
            several = " and ".join(map(str, sorted(ranks)))
            raise NotFusable(f"{op} joins values that vary from row to row and have {several} more dimensions")
        if ranks:
            rank = ranks.pop()
            args = tuple(self._without_batch(op, a, rank) for a in args)
        row = broadcast(op, *(self.nodes[a].row for a in args))
        return self.add(Node(op, args, row, any(self.nodes[a].varies for a in args), kind))

    def _without_batch(self, op: str, a: int, rank: int) -> int:
        node = self.nodes[a]
        if node.varies or len(node.row) <= rank:
            return a
        if math.prod(node.row[: len(node.row) - rank]) != 1:
            raise NotFusable(f"{op} would spread a constant of shape {list(node.row)} over the batch")
        return self.reshape(a, node.row[len(node.row) - rank :])


def broadcast(op: str, *rows: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that these are broadcast to.

    Raises:
        NotFusable: they do not fit one another.
    """
    rank = max(map(len, rows))
    result = []
    for sizes in zip(*((1,) * (rank - len(row)) + row for row in rows), strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise NotFusable(f"{op} of shapes {' and '.join(str(list(row)) for row in rows)} without the batch")
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def statistics_of(graph: Graph) -> frozenset[int]:
    """Return the positions of arguments that are a batch_norm's statistics, or that those are worked out from.

    Training changes them in place and PyTorch counts no new version: their values have to be looked at.
    """
    found: set[int] = set()
    waiting = [arg for node in graph.nodes if node.op == "batch_norm" for arg in node.args[1:]]
    while waiting:
        node = graph.nodes[waiting.pop()]
        waiting += node.args
        found |= {node.value} if node.op == "argument" else set()
    return frozenset(found)


def rewrite(graph: Graph, change: Callable[[Builder, Node, int], int]) -> Graph:
    """Return the graph made anew: `change(builder, node, old position)` adds what takes a node's place and returns where.

    The node's operands are those of the new graph already. Nodes that nothing reads are left out.
    """
    builder, new = Builder(), []
    for at, node in enumerate(graph.nodes):
        new.append(change(builder, replace(node, args=tuple(new[arg] for arg in node.args)), at))
    return pruned(Graph(tuple(builder.nodes), tuple(new[at] for at in graph.outputs), graph.single))


def pruned(graph: Graph) -> Graph:
    """Return the graph without nodes that no output needs."""
    needed = set(graph.outputs)
    for at in range(len(graph.nodes) - 1, -1, -1):
        if at in needed:
            needed.update(graph.nodes[at].args)
    kept = sorted(needed)
    new = {old: at for at, old in enumerate(kept)}
    nodes = tuple(
        replace(graph.nodes[old], args=tuple(new[arg] for arg in graph.nodes[old].args)) for old in kept
    )
    return Graph(nodes, tuple(new[at] for at in graph.outputs), graph.single)
