"""Arithmetic on plain numbers is done now, and what changes nothing is left out: x * 1, x / 1, x - 0, -(-x)."""

from __future__ import annotations

from inference_core.fusion.interpret import value_of
from inference_core.fusion.ir import Builder, Graph, Kind, Node, rewrite
from inference_core.fusion.operations import ELEMENTWISE

# x + 0 is not among them: it turns -0.0 into 0.0.
_NEUTRAL = {"mul": 1.0, "div": 1.0, "sub": 0.0}


def run(graph: Graph) -> tuple[Graph, str]:
    """Return the graph with less to do."""
    done = 0

    def change(builder: Builder, node: Node, at: int) -> int:
        nonlocal done
        new = _simpler(builder, node)
        done += new is not None
        return builder.add(node) if new is None else new

    result = rewrite(graph, change)
    return result, f"simplify: {done} operations less"


def _simpler(builder: Builder, node: Node) -> int | None:
    operands = [builder.nodes[arg] for arg in node.args]
    if node.op in ELEMENTWISE and node.kind is Kind.NUMBER and all(_is_number(one) for one in operands):
        return builder.constant(float(value_of(node, [value_of(one, (), ()) for one in operands], ())))
    if node.op in _NEUTRAL and _is_number(operands[1]) and operands[1].value == _NEUTRAL[node.op] and operands[0].row == node.row:
        return node.args[0]
    if node.op == "mul" and _is_number(operands[0]) and operands[0].value == 1.0 and operands[1].row == node.row:
        return node.args[1]
    if node.op == "neg" and operands[0].op == "neg":
        return operands[0].args[0]
    if node.op == "reshape" and operands[0].op == "reshape":
        return builder.reshape(operands[0].args[0], node.row)
    return None


def _is_number(node: Node) -> bool:
    return node.op == "constant" and node.row == ()
