"""A constant scale or shift behind a linear layer or a convolution goes into its weights and bias, as batch_norm does.

It must be one number for all, or one for each output channel; the layer must have no other reader.
"""

from __future__ import annotations

from inference_core.fusion.ir import Builder, Graph, Node, rewrite
from inference_core.fusion.operations import MATRIX

_FOLDED = ("mul", "div", "add", "sub")


def run(graph: Graph) -> tuple[Graph, str]:
    """Return the graph with scales and shifts in weights and biases."""
    readers = [len(users) for users in graph.users()]
    for at in graph.outputs:
        readers[at] += 1
    done: list[str] = []
    layers: set[int] = set()  # places in the new graph of layers with a single reader

    def change(builder: Builder, node: Node, at: int) -> int:
        found = _layer_and_constant(builder, node, layers)
        if found is None:
            new = builder.add(node)
        else:
            new = _folded(builder, node.op, *found)
            done.append(f"{node.op} into {builder.nodes[new].op}")
        if builder.nodes[new].op in MATRIX and readers[at] == 1:
            layers.add(new)
        return new

    result = rewrite(graph, change)
    return result, f"affine_folding: {', '.join(done) or 'nothing to fold'}"


def _layer_and_constant(builder: Builder, node: Node, layers: set[int]) -> tuple[int, int] | None:
    if node.op not in _FOLDED:
        return None
    layer, other = node.args
    if other in layers and node.op in ("mul", "add"):
        layer, other = other, layer
    constant = builder.nodes[other]
    if layer not in layers or constant.varies or node.row != builder.nodes[layer].row:
        return None
    channels, rank = node.row[0], len(node.row)
    row = (1,) * (rank - len(constant.row)) + constant.row
    by_channel = row == (channels,) + (1,) * (rank - 1)
    return (layer, other) if by_channel or constant.elements == 1 else None


def _folded(builder: Builder, op: str, layer: int, constant: int) -> int:
    node = builder.nodes[layer]
    weight, channels = node.args[1], node.row[0]
    bias = node.args[2] if len(node.args) == 3 else None
    values = builder.reshape(constant, (builder.nodes[constant].elements,))
    if op in ("mul", "div"):
        filters = (1,) * (len(builder.nodes[weight].row) - 1)
        weight = builder.elementwise(op, weight, builder.reshape(values, (*builder.nodes[values].row, *filters)))
        bias = None if bias is None else builder.elementwise(op, bias, values)
    else:
        bias = builder.add(Node("constant", row=(channels,), value=0.0)) if bias is None else bias
        bias = builder.elementwise(op, bias, values)
    args = (node.args[0], weight) if bias is None else (node.args[0], weight, bias)
    return builder.add(Node(node.op, args, node.row, True, value=node.value))
