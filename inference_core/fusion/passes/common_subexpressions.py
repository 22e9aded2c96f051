"""What is the same is worked out once."""

from __future__ import annotations

from inference_core.fusion.ir import Builder, Graph, Node, rewrite


def run(graph: Graph) -> tuple[Graph, str]:
    """Return the graph with equal nodes joined."""
    seen: dict[tuple, int] = {}
    joined = 0

    def change(builder: Builder, node: Node, at: int) -> int:
        nonlocal joined
        # repr tells -0.0 from 0.0 and finds NaN equal to itself; == does neither.
        key = (node.op, node.args, node.row, node.kind, repr(node.value))
        if key in seen:
            joined += 1
            return seen[key]
        seen[key] = builder.add(node)
        return seen[key]

    result = rewrite(graph, change)
    return result, f"common_subexpressions: {joined} joined"
