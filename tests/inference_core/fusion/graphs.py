"""Graphs for tests: of a function, of one operation, and how a back end runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from inference_core.fusion import tracer
from inference_core.fusion.cpu.kernel import CpuKernel
from inference_core.fusion.ir import Builder, Graph, Kind, Node
from inference_core.fusion.lower import lower
from inference_core.fusion.operations import ELEMENTWISE, POSITIONS, REDUCTIONS
from inference_core.fusion.pipeline import stages
from inference_core.fusion.signature import call_shape

OF_TRUTHS = ("logical_and", "logical_or", "logical_not", "number")


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


def every_operation(width: int) -> tuple[Graph, list[str]]:
    """Return a graph of all operations, and their names in the order of its outputs.

    Its arguments: three of numbers, two of truths, one for sums and products, one for positions.
    """
    builder = Builder()
    kinds = [Kind.NUMBER] * 3 + [Kind.TRUTH] * 2 + [Kind.NUMBER] * 2
    numbers, truths, tame, tied = (0, 1, 2), (3, 4), 5, 6
    for at, kind in enumerate(kinds):
        builder.add(Node("argument", (), (width,), True, kind, at))
    names, outputs = [], []
    for op, about in ELEMENTWISE.items():
        args = truths[: about.arity] if op in OF_TRUTHS else (3, *numbers[1:]) if op == "where" else numbers[: about.arity]
        outputs.append(builder.add(Node(op, tuple(args), (width,), True, about.kind)))
        names.append(op)
    for op in REDUCTIONS:
        of = tame if op in ("sum", "prod") else tied if op in POSITIONS else numbers[0]
        outputs.append(builder.add(Node(op, (of,), (), True, Kind.POSITION if op in POSITIONS else Kind.NUMBER)))
        names.append(op)
    return Graph(tuple(builder.nodes), tuple(outputs), single=False), names


def special_rows(width: int, arity: int, rows: int = 96) -> list[torch.Tensor]:
    """Return operands with ordinary numbers of all sizes, zeros, infinities, NaN and subnormals, ties among them."""
    generator = torch.Generator().manual_seed(width)
    infinity, nan = float("inf"), float("nan")
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, infinity, -infinity, nan, 1e-42, -1e-42, 1e38, -1e38, 88.8, -104.5])
    found = []
    for _ in range(arity):
        x = torch.randn(rows, width, generator=generator) * 10 ** (torch.rand(rows, width, generator=generator) * 12 - 6)
        drawn = special[torch.randint(len(special), x.shape, generator=generator)]
        found.append(torch.where(torch.rand(x.shape, generator=generator) < 0.3, drawn, x))
    return found
