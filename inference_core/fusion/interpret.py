"""Evaluates a graph with PyTorch, operation by operation: the truth that passes and emitters are tested against.

The same evaluation works out what depends on constant arguments alone, once for a set of weights (constants.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inference_core.fusion.ir import Graph, Kind, Node
from inference_core.fusion.operations import ELEMENTWISE, REDUCTIONS

if TYPE_CHECKING:
    import torch


def evaluate(graph: Graph, args: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the outputs of a graph for these arguments, by position."""
    values: list[torch.Tensor] = []
    for node in graph.nodes:
        values.append(value_of(node, [values[arg] for arg in node.args], args))
    return [values[at] for at in graph.outputs]


def value_of(node: Node, operands: Sequence[torch.Tensor], args: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return one node's value from its operands' values."""
    import torch
    from torch.nn import functional

    if node.op == "argument":
        return args[node.value]
    if node.op == "constant":
        return torch.full(node.row, node.value, dtype=torch.float32, device=_device(args))
    if node.op == "number":
        return operands[0].to(torch.float32)
    if node.op in ELEMENTWISE:
        return getattr(torch, ELEMENTWISE[node.op].torch)(*operands)
    if node.op in REDUCTIONS:
        return getattr(torch, REDUCTIONS[node.op].torch)(operands[0], dim=-1)
    if node.op == "reshape":
        return operands[0].reshape((*operands[0].shape[: int(node.varies)], *node.row))
    if node.op == "narrow":
        return operands[0].narrow(-1, node.value, node.row[-1])
    if node.op == "transpose":
        return operands[0].transpose(-1, -2)
    if node.op == "linear":
        return functional.linear(*operands)
    if node.op == "conv2d":
        stride, padding, dilation = node.value
        return functional.conv2d(*operands, stride=stride, padding=padding, dilation=dilation)
    if node.op == "softmax":
        return torch.softmax(operands[0], -1)
    if node.op == "batch_norm":
        return functional.batch_norm(*operands, eps=node.value)
    raise AssertionError(f"no evaluation of {node.op}")


def _device(args: Sequence[torch.Tensor]) -> torch.device | None:
    return args[0].device if args else None


TORCH_KINDS = {Kind.NUMBER: "float32", Kind.TRUTH: "bool", Kind.POSITION: "int64"}
"""Names of torch's dtypes."""
