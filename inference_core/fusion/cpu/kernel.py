"""A fused function on the CPU: the checks of a call, which must take about a microsecond, and the call into C."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference_core.fusion.call_plan import MISS, CallPlan, shaped
from inference_core.fusion.constants import ConstantSets
from inference_core.fusion.cpu.build import load_c
from inference_core.fusion.cpu.emitter import CHANGED, CSource, emit_c
from inference_core.fusion.ir import Graph

if TYPE_CHECKING:
    import torch


class CpuKernel:
    """One graph as compiled C.

    Attributes:
        source: what was compiled.
        constants: the sets of constant arguments that it was given.
        most_rows: rows beyond which the untouched function would be the faster one: there are none.
    """

    most_rows = None

    def __init__(self, graph: Graph, tensors: int, folder: Path | None, statistics: frozenset[int] = frozenset()) -> None:
        """Args:
            tensors: how many tensors the function takes.
            statistics: those whose values are compared with what was folded (ir.statistics_of).

        Raises:
            NoCompiler: it cannot be compiled here.
            NotFusable: a part has no form in C.
        """
        watched = {node.value: 4 * node.elements for node in graph.nodes if node.op == "argument" and node.value in statistics}
        self.source: CSource = emit_c(graph, tuple(watched.values()))
        self._graph = graph
        outputs = list(dict.fromkeys(graph.outputs))
        self._run = load_c(self.source.text, folder).run
        addresses = 1 + len(self.source.arguments) + len(outputs)
        self._run.argtypes = [ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * addresses]
        self._run.restype = ctypes.c_int
        fixed = [at for at in range(tensors) if at not in self.source.arguments]
        read = {node.value for node in graph.nodes if node.op == "argument"}
        fixed = [at for at in fixed if at in read]
        self.constants = ConstantSets(graph, self.source.constants, fixed, _addresses, tuple(watched))

    def call_for(self, positions: Sequence[int], count: int, values: Sequence[tuple[int, type, Any]] = ()) -> Callable[..., Any]:
        """Return the function of a call's arguments that checks and runs.

        Args:
            positions: of the tensors among the function's arguments.
            count: how many arguments there are.
            values: (position, type, value) of those that are no tensors.

        It answers MISS where an argument is not what was compiled for, or of a shape that `admit` was not told of.
        """
        return _make_call(self, self._graph, self._run, tuple(positions), count, tuple(values))

    def account(self) -> str:
        return f"C: {self.source.loops} loops over blocks of rows, one call"


def _addresses(tensors: list[torch.Tensor]) -> Any:
    array = (ctypes.c_void_p * max(1, len(tensors)))(*(tensor.data_ptr() for tensor in tensors))
    return array


def _make_call(kernel: CpuKernel, graph: Graph, run: Any, positions: tuple[int, ...], count: int, values: tuple) -> Any:
    """One function, long and closed over all it needs: it runs at every call, and each call or attribute within would be felt."""
    import torch

    plan = CallPlan(kernel, graph, positions)
    varying, results, order = plan.varying, plan.results, plan.order
    one_row, one_kind = results[0]
    is_one = graph.single
    plain, parameter = torch.Tensor, torch.nn.Parameter
    empty, grad_enabled, threads = torch.empty, torch.is_grad_enabled, torch.get_num_threads
    is_autocast = torch._C._is_any_autocast_enabled
    latest: Any = None

    def call(args: Sequence[Any]) -> Any:
        entry = latest  # read once: another thread may put other constants there
        if len(args) != count or entry is None or is_autocast():
            return MISS
        guards, table, _ = entry
        for position, kind, value in values:
            if type(args[position]) is not kind or args[position] != value:
                return MISS
        rows = -1
        addresses = []
        for position, kind, shapes in varying:
            x = args[position]
            if (type(x) is not plain and type(x) is not parameter) or x.dtype is not kind or not x.is_cpu:
                return MISS
            found = shapes.get(x.shape, -1)
            if found != rows and rows != -1 or found == -1 or not x.is_contiguous():
                return MISS
            rows = found
            addresses.append(x.data_ptr())
        for position, tensor, version, address in guards:
            x = args[position]
            if x is not tensor or x._version != version or x.data_ptr() != address:
                return MISS
        if grad_enabled():
            for position in positions:
                if args[position].requires_grad:
                    return MISS
        if is_one and rows:
            out = empty((rows, *one_row), dtype=one_kind)
            status = run(rows, threads(), table, *addresses, out.data_ptr())
            return out if not status else failed(status)
        return answer(rows, addresses, table)

    def answer(rows: int, addresses: list[int], held: Any) -> Any:
        outs = [empty((rows, *row), dtype=kind) for row, kind in results]
        status = run(rows, threads(), held, *addresses, *[out.data_ptr() for out in outs]) if rows else 0
        return shaped(outs, order, graph.single) if not status else failed(status)

    def failed(status: int) -> Any:
        if status == CHANGED:
            return MISS
        raise MemoryError("a fused function found no memory for its scratch: use smaller batches, or free memory")

    def admit(args: Sequence[Any]) -> None:
        nonlocal latest
        held, guards = plan.admit(plan.tensors(args))
        latest = (guards, held.table, held) if held.is_remembered else None

    def checked(args: Sequence[Any]) -> Any:
        tensors = plan.tensors(args)
        held = kernel.constants.of(tensors)
        first = tensors[kernel.source.arguments[0]]
        return answer(first.shape[0], [tensors[at].data_ptr() for at in kernel.source.arguments], held.table)

    call.admit, call.checked = admit, checked  # type: ignore[attr-defined]
    return call
