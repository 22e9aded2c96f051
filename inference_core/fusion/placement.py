"""Which values are written down within a block of rows, and which are worked out where they are read.

A fused kernel goes through the batch in blocks of rows. Within a block a value either has a place (an argument, an output, or
scratch memory that stays in the first cache) or is part of the expression of each of its readers.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference_core.fusion.ir import Graph, Node
from inference_core.fusion.operations import LEAVES, MATRIX, REDUCTIONS, cost_of

# From this on, working a value out twice is dearer than writing it down.
DEAR = 10
# The same for a value of few elements that is read by a loop over many.
DEAR_WHEN_SPREAD = 4


@dataclass(frozen=True)
class Packed:
    """A value that does not vary, as a kernel reads it: worked out once for a set of constant arguments.

    Attributes:
        node: its place in the graph.
        form: "plain" (row-major), "panels" ([N / 16][K][16], zeros behind the last) or "padded" (zeros up to a multiple of 16).
    """

    node: int
    form: str = "plain"


def written_down(graph: Graph) -> list[int]:
    """Return the varying values that get a place, in the order in which they are worked out."""
    users = graph.users()
    kept = {at for at, node in enumerate(graph.nodes) if node.op in REDUCTIONS or node.op in MATRIX} | set(graph.outputs)
    cost = [0] * len(graph.nodes)
    for at, node in enumerate(graph.nodes):
        if not node.varies or node.op in LEAVES:
            continue
        cost[at] = cost_of(node.op) + sum(cost[arg] for arg in node.args if arg not in kept)
        readers = [graph.nodes[user] for user in users[at]]
        spread = any(reader.elements > node.elements for reader in readers if reader.op not in REDUCTIONS)
        if cost[at] >= DEAR and len(readers) > 1 or cost[at] >= DEAR_WHEN_SPREAD and spread or _needs_place(graph, at, users[at]):
            kept.add(at)
    return sorted(at for at in kept if graph.nodes[at].varies)


def _needs_place(graph: Graph, at: int, users: list[int]) -> bool:
    """Whether somebody reads the value by address: a matrix product its rows, a reshape the elements in their order."""
    node = graph.nodes[at]
    if node.op in ("reshape", "narrow") and _has_place(graph, node.args[0]):
        return False
    for user in users:
        reader = graph.nodes[user]
        if reader.op == "linear" or reader.op == "reshape" and not only_ones_differ(node.row, reader.row):
            return True
    return False


def _has_place(graph: Graph, at: int) -> bool:
    node = graph.nodes[at]
    if node.op == "reshape":
        return _has_place(graph, node.args[0])
    if node.op == "narrow":
        return len(node.row) == 1 and _has_place(graph, node.args[0])
    return node.op == "argument" or node.op == "linear" or node.op in REDUCTIONS


def only_ones_differ(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two shapes are the same but for dimensions of one."""
    return [size for size in a if size != 1] == [size for size in b if size != 1]


def constants_read(graph: Graph) -> list[int]:
    """Return the values that do not vary and are read by one that does, plain numbers left out, in their order."""
    found = set()
    for node in graph.nodes:
        if node.varies:
            found.update(arg for arg in node.args if not graph.nodes[arg].varies and not is_number(graph.nodes[arg]))
    return sorted(found)


def is_number(node: Node) -> bool:
    """Whether a node is a plain number, which stands in the code itself."""
    return node.op == "constant"
