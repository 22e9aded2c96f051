"""Composites become elements and reductions: softmax (with the largest taken off first), and batch_norm on its statistics."""

from __future__ import annotations

from inference_core.fusion.ir import Builder, Graph, Node, rewrite


def run(graph: Graph) -> tuple[Graph, str]:
    """Return the graph without composites."""
    done: list[str] = []

    def change(builder: Builder, node: Node, at: int) -> int:
        if node.op not in _PARTS:
            return builder.add(node)
        done.append(node.op)
        return _PARTS[node.op](builder, node)

    result = rewrite(graph, change)
    return result, f"decompose: {', '.join(done) or 'nothing'} taken apart"


def _softmax(builder: Builder, node: Node) -> int:
    (x,) = node.args
    kept = (*node.row[:-1], 1)

    def reduced(op: str, of: int) -> int:
        return builder.reshape(builder.add(Node(op, (of,), node.row[:-1], node.varies)), kept)

    powers = builder.elementwise("exp", builder.elementwise("sub", x, reduced("amax", x)))
    return builder.elementwise("div", powers, reduced("sum", powers))


def _batch_norm(builder: Builder, node: Node) -> int:
    """(x - mean) / sqrt(var + eps) as x * scale + shift, both of which depend on constants alone."""
    x, mean, variance = node.args
    wide = (node.row[0],) + (1,) * (len(node.row) - 1)
    scale = builder.elementwise("rsqrt", builder.elementwise("add", variance, builder.constant(node.value)))
    shift = builder.elementwise("neg", builder.elementwise("mul", mean, scale))
    scaled = builder.elementwise("mul", x, builder.reshape(scale, wide))
    return builder.elementwise("add", scaled, builder.reshape(shift, wide))


_PARTS = {"softmax": _softmax, "batch_norm": _batch_norm}
