"""Graphs for tests: of a function, of one operation, and how a back end runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from inference_core.fusion import tracer
from inference_core.fusion.cpu import CpuKernel
from inference_core.fusion.ir import Builder, Graph, Kind, Node
from inference_core.fusion.lower import lower
from inference_core.fusion.operations import ELEMENTWISE, POSITIONS
from inference_core.fusion.pipeline import stages
from inference_core.fusion.signature import call_shape


def recorded(function: Callable[..., Any], arguments: Sequence[torch.Tensor]) -> Graph:
    """Return the graph of a function as it says it."""
    return lower(tracer.trace(function, [tracer.Tensor] * len(arguments)), call_shape(arguments).tensors).graph


def final(function: Callable[..., Any], arguments: Sequence[torch.Tensor], fold: bool = True) -> Graph:
    """Return the graph of a function as it is emitted."""
    return list(stages(recorded(function, arguments), fold))[-1][0]


def run_on_cpu(graph: Graph, arguments: Sequence[torch.Tensor], folder: Path) -> Any:
    """Return what the compiled C of a graph answers."""
    kernel = CpuKernel(graph, len(arguments), folder)
    return kernel.call_for(range(len(arguments)), len(arguments)).checked(arguments)


def one_operation(op: str, width: int) -> Graph:
    """Return a graph of one operation on elements, on rows of this width."""
    about = ELEMENTWISE[op]
    builder = Builder()
    truths = {"logical_and", "logical_or", "logical_not", "number"}
    kinds = [Kind.TRUTH if op in truths or op == "where" and at == 0 else Kind.NUMBER for at in range(about.arity)]
    args = [builder.add(Node("argument", (), (width,), True, kind, at)) for at, kind in enumerate(kinds)]
    return Graph((*builder.nodes, Node(op, tuple(args), (width,), True, about.kind)), (len(args),))


def one_reduction(op: str, width: int) -> Graph:
    """Return a graph of one reduction of rows of this width."""
    kind = Kind.POSITION if op in POSITIONS else Kind.NUMBER
    return Graph((Node("argument", (), (width,), True, Kind.NUMBER, 0), Node(op, (0,), (), True, kind)), (1,))


def special_rows(width: int, arity: int, rows: int = 96) -> list[torch.Tensor]:
    """Return operands with ordinary numbers of all sizes, zeros, infinities, NaN and subnormals, ties among them."""
    generator = torch.Generator().manual_seed(width)
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan"), 1e-42, -1e-42, 1e38, -1e38, 88.8, -104.5])
    found = []
    for _ in range(arity):
        x = torch.randn(rows, width, generator=generator) * 10 ** (torch.rand(rows, width, generator=generator) * 12 - 6)
        drawn = special[torch.randint(len(special), x.shape, generator=generator)]
        found.append(torch.where(torch.rand(x.shape, generator=generator) < 0.3, drawn, x))
    return found
