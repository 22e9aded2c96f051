"""A fused function on a GPU: one launch of a Triton kernel, with the checks of a call before it."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from inference_core.fusion.call_plan import MISS, CallPlan, results_of, shaped
from inference_core.fusion.constants import ConstantSets
from inference_core.fusion.cpu.build import NoCompiler, private_folder
from inference_core.fusion.gpu.emitter import emit_triton
from inference_core.fusion.gpu.program import TritonSource
from inference_core.fusion.ir import Graph

if TYPE_CHECKING:
    import torch


class GpuKernel:
    """One graph as a Triton kernel.

    Attributes:
        source: what Triton compiles.
        constants: the sets of constant arguments that it was given.
        launches: kernels that a call starts.
    """

    launches = 1

    @property
    def most_rows(self) -> int | None:
        """Rows of a batch beyond which the untouched function is the faster one; None for no limit."""
        return self.source.most_rows

    def __init__(self, graph: Graph, tensors: int, folder: Path | None, statistics: frozenset[int] = frozenset()) -> None:
        """Args:
            tensors: how many tensors the function takes.
            statistics: those that the kernel reads itself at each call (ir.statistics_of).

        Raises:
            NoCompiler: Triton is not installed.
            NotFusable: a part has no form in Triton.
        """
        self.source: TritonSource = emit_triton(graph, statistics)
        self._graph = graph
        self.kernel = load_triton(self.source.text, folder).kernel
        read = {node.value for node in graph.nodes if node.op == "argument"}
        fixed = [at for at in range(tensors) if at in read and at not in self.source.arguments]
        self.constants = ConstantSets(graph, self.source.constants, fixed, tuple)

    def account(self) -> str:
        return f"Triton: one launch, {self.source.rows} {'rows' if self.source.places == 1 else 'places of images'} a program"

    def call_for(self, positions: Sequence[int], count: int, values: Sequence[tuple[int, type, Any]] = ()) -> Callable[..., Any]:
        """Return the function of a call's arguments that checks and runs, as CpuKernel.call_for does."""
        return _make_call(self, self._graph, tuple(positions), count, tuple(values))


def load_triton(text: str, folder: Path | None) -> ModuleType:
    """Return the module of a Triton source; Triton reads a kernel's text from its file.

    Raises:
        NoCompiler: Triton is not installed, or the folder's file is not what was written there.
    """
    if importlib.util.find_spec("triton") is None:
        raise NoCompiler("Triton is not installed")
    name = hashlib.sha256(text.encode()).hexdigest()
    file = private_folder(folder) / f"fused_{name}.py"
    if not file.exists():
        made = file.with_suffix(f".{id(text)}.tmp")
        made.write_text(text)
        made.replace(file)
    if file.read_text() != text:
        raise NoCompiler(f"{file} was changed: remove it")
    found = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def launch(kernel: GpuKernel, graph: Graph, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Run a kernel once on checked tensors, one for each of the function's; return the outputs."""
    first = tensors[kernel.source.arguments[0]]
    rows = first.shape[0]
    held = kernel.constants.of(tensors)
    outs = _empty_outputs(graph, rows, first.device)
    if rows:
        programs = -(-rows * kernel.source.places // kernel.source.rows)
        kernel.kernel[(programs,)](rows, *held.table, *(tensors[at] for at in kernel.source.arguments), *outs)
    return outs


def _empty_outputs(graph: Graph, rows: int, device: torch.device) -> list[torch.Tensor]:
    import torch

    return [torch.empty((rows, *row), dtype=kind, device=device) for row, kind in results_of(graph)]


def _make_call(kernel: GpuKernel, graph: Graph, positions: tuple[int, ...], count: int, values: tuple) -> Any:
    """As in cpu.py; a call that finds a kernel compiled launches that, without asking Triton which one it is."""
    import torch

    plan = CallPlan(kernel, graph, positions)
    varying, results, order = plan.varying, plan.results, plan.order
    plain, parameter = torch.Tensor, torch.nn.Parameter
    places, per_program = kernel.source.places, kernel.source.rows
    empty, grad_enabled, current, stream_of = torch.empty, torch.is_grad_enabled, torch.cuda.current_device, _raw_stream()
    most_rows = kernel.most_rows or 1 << 62
    is_autocast = torch._C._is_any_autocast_enabled
    latest: Any = None

    def call(args: Sequence[Any]) -> Any:
        entry = latest
        if len(args) != count or entry is None or is_autocast():
            return MISS
        guards, table, compiled, device, _ = entry
        for position, kind, value in values:
            if type(args[position]) is not kind or args[position] != value:
                return MISS
        rows, tensors = -1, []
        for position, kind, shapes in varying:
            x = args[position]
            if (type(x) is not plain and type(x) is not parameter) or x.dtype is not kind or x.device != device:
                return MISS
            found = shapes.get(x.shape, -1)
            if found != rows and rows != -1 or found == -1 or not x.is_contiguous():
                return MISS
            rows = found
            tensors.append(x)
        for position, tensor, version, address in guards:
            x = args[position]
            if x is not tensor or x._version != version or x.data_ptr() != address:
                return MISS
        if grad_enabled():
            for position in positions:
                if args[position].requires_grad:
                    return MISS
        if not 0 < rows <= most_rows or current() != device.index:
            return MISS
        outs = [empty((rows, *row), dtype=kind, device=device) for row, kind in results]
        grid = (-(-rows * places // per_program), 1, 1)
        compiled[grid](rows, *table, *tensors, *outs, stream=stream_of(device.index))
        return shaped(outs, order, graph.single)

    def admit(args: Sequence[Any]) -> None:
        nonlocal latest
        tensors = plan.tensors(args)
        held, guards = plan.admit(tensors)
        device = tensors[kernel.source.arguments[0]].device
        if held.is_remembered:
            with torch.cuda.device(device):
                compiled = latest[2] if latest else _compiled(kernel, graph, tensors)
            latest = (guards, held.table, compiled, device, held)

    def checked(args: Sequence[Any]) -> Any:
        tensors = plan.tensors(args)
        with torch.cuda.device(tensors[0].device):
            return shaped(launch(kernel, graph, tensors), order, graph.single)

    call.admit, call.checked = admit, checked  # type: ignore[attr-defined]
    return call


def _raw_stream() -> Callable[[int], int]:
    """Return the function of a device's number that tells its current stream, the one that Triton itself asks."""
    from triton.runtime import driver

    return driver.active.get_current_stream


def _compiled(kernel: GpuKernel, graph: Graph, tensors: Sequence[torch.Tensor]) -> Any:
    """Return the kernel as compiled, which takes any number of rows and any alignment: nothing of them is compiled in."""
    held = kernel.constants.of(tensors)
    outs = _empty_outputs(graph, 1, tensors[kernel.source.arguments[0]].device)
    return kernel.kernel.warmup(2, *held.table, *(tensors[at] for at in kernel.source.arguments), *outs, grid=(1,))
