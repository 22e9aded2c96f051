"""A fused function on the CPU: the checks of a call, which must take about a microsecond, and the call into C."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference_core.fusion.build import load_c
from inference_core.fusion.constants import ConstantSets
from inference_core.fusion.emit_c import CSource, emit_c
from inference_core.fusion.interpret import TORCH_KINDS
from inference_core.fusion.ir import Graph

if TYPE_CHECKING:
    import torch

MISS = object()
"""What a call answers that its checks do not let through."""
# Shapes that a call has seen and need no other check; a server has few batch sizes, and a long list costs memory only.
_MOST_SHAPES = 4096


class CpuKernel:
    """One graph as compiled C.

    Attributes:
        source: what was compiled.
        constants: the sets of constant arguments that it was given.
    """

    def __init__(self, graph: Graph, tensors: int, folder: Path | None) -> None:
        """tensors: how many tensors the function takes.

        Raises:
            NoCompiler: it cannot be compiled here.
            NotFusable: a part has no form in C.
        """
        self.source: CSource = emit_c(graph)
        self._graph = graph
        outputs = list(dict.fromkeys(graph.outputs))
        self._run = load_c(self.source.text, folder).run
        self._run.argtypes = [ctypes.c_int64, ctypes.c_int64] + [ctypes.c_void_p] * (1 + len(self.source.arguments) + len(outputs))
        self._run.restype = ctypes.c_int
        fixed = [at for at in range(tensors) if at not in self.source.arguments]
        read = {node.value for node in graph.nodes if node.op == "argument"}
        self.constants = ConstantSets(graph, self.source.constants, [at for at in fixed if at in read], _addresses)

    def call_for(self, positions: Sequence[int]) -> Callable[[Sequence[Any]], Any]:
        """Return the function of a call's arguments that checks and runs.

        Args:
            positions: of the tensors among the function's arguments.

        It answers MISS where a tensor is not of the kind that was compiled for, or of a shape that `admit` was not told of.
        """
        return _make_call(self, self._graph, self._run, tuple(positions))

    @property
    def device(self) -> str:
        return "cpu"

    def account(self) -> str:
        return f"C: {self.source.loops} loops over blocks of rows, one call"


def _addresses(tensors: list[torch.Tensor]) -> Any:
    array = (ctypes.c_void_p * max(1, len(tensors)))(*(tensor.data_ptr() for tensor in tensors))
    return array


def _make_call(kernel: CpuKernel, graph: Graph, run: Any, positions: tuple[int, ...]) -> Any:
    """A closure: names found in cells cost half of attributes, and this runs for every call."""
    import torch

    kinds = {node.value: getattr(torch, TORCH_KINDS[node.kind]) for node in graph.nodes if node.op == "argument"}
    known: list[dict[Any, int]] = [{} for _ in kernel.source.arguments]
    varying = tuple((positions[at], kinds[at], shapes) for at, shapes in zip(kernel.source.arguments, known, strict=True))
    outputs = list(dict.fromkeys(graph.outputs))
    results = [(graph.nodes[at].row, getattr(torch, TORCH_KINDS[graph.nodes[at].kind])) for at in outputs]
    one_row, one_kind = results[0]
    order = [outputs.index(at) for at in graph.outputs]
    constants, plain = kernel.constants, (torch.Tensor, torch.nn.Parameter)
    empty, grad_enabled, threads = torch.empty, torch.is_grad_enabled, torch.get_num_threads
    last = None

    def call(args: Sequence[Any]) -> Any:
        nonlocal last
        rows = -1
        addresses = []
        for position, kind, shapes in varying:
            x = args[position]
            if type(x) not in plain or x.dtype is not kind or not x.is_cpu or not x.is_contiguous():
                return MISS
            count = shapes.get(x.shape, -1)
            if count != rows and rows != -1 or count == -1:
                return MISS
            rows = count
            addresses.append(x.data_ptr())
        if grad_enabled():
            for position in positions:
                if args[position].requires_grad:
                    return MISS
        held = last
        if held is None:
            return MISS
        for position, tensor, version, address in held.guards:
            x = args[positions[position]]
            if x is not tensor or x._version != version or x.data_ptr() != address:
                return MISS
        return answer(rows, addresses, held)

    def answer(rows: int, addresses: list[int], held: Any) -> Any:
        if len(results) == 1:
            out = empty((rows, *one_row), dtype=one_kind)
            if rows and run(rows, threads(), held.table, *addresses, out.data_ptr()):
                raise MemoryError("a fused function found no memory for its scratch: use smaller batches, or free memory")
            return out if graph.single else (out,) * len(order)
        outs = [empty((rows, *row), dtype=kind) for row, kind in results]
        if rows and run(rows, threads(), held.table, *addresses, *(out.data_ptr() for out in outs)):
            raise MemoryError("a fused function found no memory for its scratch: use smaller batches, or free memory")
        return tuple(outs[at] for at in order)

    def admit(args: Sequence[Any]) -> None:
        """Let a call with these arguments through, which were checked at leisure, and have its constants at hand."""
        nonlocal last
        tensors = [args[position] for position in positions]
        for at, shapes in zip(kernel.source.arguments, known, strict=True):
            if len(shapes) < _MOST_SHAPES:
                shapes[tensors[at].shape] = tensors[at].shape[0]
        last = constants.of(tensors)

    def checked(args: Sequence[Any]) -> Any:
        """Answer arguments that were checked at leisure, whatever the memory of shapes."""
        tensors = [args[position] for position in positions]
        held = constants.of(tensors)
        first = tensors[kernel.source.arguments[0]]
        return answer(first.shape[0], [tensors[at].data_ptr() for at in kernel.source.arguments], held)

    call.admit, call.checked = admit, checked  # type: ignore[attr-defined]
    return call
