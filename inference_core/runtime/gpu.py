"""The variants of a GPU: one captured graph a bucket, with its buffers pinned, and plain launches for everything else.

Needs torch and Triton, which are loaded when a variant is first used and not before. CUDA and ROCm have graphs; an Ascend
chip runs plain launches of the same Triton source. Where NVIDIA's run-time compiler takes the program, its CUDA kernel
is used, else the Triton one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from inference_core.runtime.cuda_graphs import capture_graph
from inference_core.runtime.devices import Device, DeviceKind
from inference_core.runtime.executor import DynamicVariant, Shape, StaticProgram, StaticVariant, first_rows
from kernels.bin_features import check_rows
from kernels.errors import KernelInputError
from kernels.gpu import DeviceTables, allocate, upload
from kernels.score_rows import ScoredRows, ScoreTables

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
_ANY = 1 << 62
_LARGEST_GRAPH = 1 << 20
_LARGEST_BY_TREE = 8192  # far beyond the size from which rows alone fill a GPU

Kernel = Callable[..., Any]
"""score_rows of kernels.score_rows.gpu_triton or gpu_cuda."""


class Backend(Protocol):
    """What graphs and memory of a device come down to; tests put a plain one in its place."""

    def pinned(self, rows: int, width: int, kind: torch.dtype) -> torch.Tensor:
        """Return memory of the host that the device reads and writes directly."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return what does the same work again and waits for its end; `work` launches and copies, nothing else."""
        ...


class GraphBackend:
    """Pinned memory and graphs of CUDA or ROCm."""

    def __init__(self, device: Device) -> None:
        import torch

        self._torch, self._stream = torch, torch.cuda.Stream(torch.device(device.torch_name))

    def pinned(self, rows: int, width: int, kind: torch.dtype) -> torch.Tensor:
        return self._torch.zeros((rows, width), dtype=kind, pin_memory=True)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        torch, stream = self._torch, self._stream
        graph = capture_graph(stream, work)

        def replay() -> None:
            with torch.cuda.stream(stream):
                graph.replay()
            stream.synchronize()

        return replay


def variants(tables: ScoreTables, device: Device) -> tuple[Sequence[StaticVariant], Sequence[DynamicVariant]]:
    """Return the variants of which static programs are made (none for a chip without graphs), and those for any batch."""
    on_device = OnDevice(tables, device)
    dynamic = (Launch(on_device),)
    if device.kind is DeviceKind.ASCEND:
        return (), dynamic
    graphs = (GraphRows(on_device, "tree_parallel", _LARGEST_BY_TREE), GraphRows(on_device, "row_parallel", _LARGEST_GRAPH))
    return ((OneRow(on_device), *graphs) if device.kind is DeviceKind.CUDA else graphs), dynamic


class OnDevice:
    """A program's tables on a device, brought there when they are first needed, and the kernel that runs them."""

    def __init__(self, tables: ScoreTables, device: Device, backend: Backend | None = None, kernel: Kernel | None = None) -> None:
        self.host, self.device = tables, device
        self._backend, self._kernel = backend, kernel
        self._tables: DeviceTables | None = None
        self._lock = threading.Lock()

    @property
    def tables(self) -> DeviceTables:
        with self._lock:
            if self._tables is None:
                self._tables = upload(self.host, self.device.torch_name)
            return self._tables

    @property
    def backend(self) -> Backend:
        with self._lock:
            if self._backend is None:
                self._backend = GraphBackend(self.device)
            return self._backend

    def kernel(self, top: int) -> Kernel:
        """Return the kernel for batches with `top` contributions a row."""
        if self._kernel is not None:
            return self._kernel
        from kernels.score_rows import gpu_triton

        return gpu_triton.score_rows if cuda_refusal(self.tables, self.device, top) else _cuda_kernel()


def cuda_refusal(tables: DeviceTables, device: Device, top: int) -> str | None:
    """Return why the CUDA kernel does not run this program here, or None if it does; said once, in the log."""
    if device.kind is not DeviceKind.CUDA:
        return "the device is not one of NVIDIA's"
    key = f"runtime: cuda refusal {top}"
    if key not in tables.cache:
        tables.cache[key] = reason = _ask_cuda_kernel(tables, top)
        if reason is not None:
            logger.warning("%s: the Triton kernel runs a program, because for the CUDA kernel %s", device.label, reason)
    return tables.cache[key]


def _ask_cuda_kernel(tables: DeviceTables, top: int) -> str | None:
    from kernels.cuda_module import CudaUnavailableError
    from kernels.score_rows import gpu_cuda

    if reason := gpu_cuda.refusal(tables, top):
        return reason
    try:
        gpu_cuda.score_rows(tables, tables.cuts.cuts.new_zeros((1, tables.tables.cuts.features)), None, top)
    except CudaUnavailableError as error:
        return str(error)
    return None


def _cuda_kernel() -> Kernel:
    from kernels.score_rows import gpu_cuda

    return gpu_cuda.score_rows


class Launch:
    """Copies, launches and copies back, whatever comes."""

    usual_rows = (0, _ANY)

    def __init__(self, on_device: OnDevice) -> None:
        self._on_device, self.device, self.name = on_device, on_device.device, f"{on_device.device.label} launch"

    def run(self, x: np.ndarray, memberships: np.ndarray | None, top: int) -> ScoredRows:
        import torch

        cuts = self._on_device.host.cuts
        check_rows(cuts, x, memberships)
        if not 0 <= top <= cuts.features:
            raise KernelInputError(f"top must be from 0 to {cuts.features}; got {top}")
        tables = self._on_device.tables
        lists = None if memberships is None else torch.from_numpy(_plain(memberships)).to(tables.device)
        return self._on_device.kernel(top)(tables, torch.from_numpy(_plain(x)).to(tables.device), lists, top).to_host()


class GraphRows:
    """A captured graph a bucket: copy in, one launch, copy out."""

    needs_complete = False
    quick_to_build = False
    usual_rows = (1, 0)  # none: only measured cost lines take a batch away from the CPU

    def __init__(self, on_device: OnDevice, parallel: str, most_rows: int) -> None:
        self._on_device, self._parallel, self.most_rows = on_device, parallel, most_rows
        self.device, self.name = on_device.device, f"{on_device.device.label} graph {parallel}"

    def prepare(self, shape: Shape) -> StaticProgram:
        return _Graph(self._on_device, self._parallel, shape)


class _Graph:
    def __init__(self, on_device: OnDevice, parallel: str, shape: Shape) -> None:
        import torch

        tables, backend, kernel = on_device.tables, on_device.backend, on_device.kernel(shape.top)
        rows, cuts = shape.rows, on_device.host.cuts
        host_x = backend.pinned(rows, cuts.features, torch.float32)
        host_lists = backend.pinned(rows, cuts.lists, torch.bool) if shape.lists else None
        x, lists = (None if of is None else torch.zeros_like(of, device=tables.device) for of in (host_x, host_lists))
        out = allocate(tables, rows, shape.top)
        answer = backend.pinned(1, out.layout.bytes, torch.uint8)[0]

        def work() -> None:
            x.copy_(host_x, non_blocking=True)
            if lists is not None:
                lists.copy_(host_lists, non_blocking=True)
            kernel(tables, x, lists, shape.top, parallel, out)
            answer.copy_(out.buffer, non_blocking=True)

        self._kept = tables, x, lists, out  # the graph knows their addresses alone
        self._replay = backend.capture(work)
        self._x, self._lists = host_x.numpy(), None if host_lists is None else host_lists.numpy()
        self._answer, self._layout = answer.numpy(), out.layout

    def run(self, x: np.ndarray, memberships: np.ndarray | None) -> ScoredRows:
        rows = len(x)
        self._x[:rows] = x  # what lies behind is of an earlier batch, is scored with it and cut off
        if self._lists is not None:
            self._lists[:rows] = memberships
        self._replay()
        scored = ScoredRows(self._layout, self._answer)
        return ScoredRows(self._layout, self._answer.copy()) if rows == self._layout.rows else first_rows(scored, rows)


class OneRow:
    """One row that travels with its launch; the host watches for the answer in pinned memory."""

    needs_complete = False
    quick_to_build = False
    usual_rows = (1, 0)
    most_rows = 1

    def __init__(self, on_device: OnDevice) -> None:
        self._on_device, self.device, self.name = on_device, on_device.device, f"{on_device.device.label} one row"

    def prepare(self, shape: Shape) -> StaticProgram:
        if reason := cuda_refusal(self._on_device.tables, self.device, shape.top):
            raise KernelInputError(f"the CUDA kernel does not take this program: {reason}")
        return _OneRow(self._on_device.tables, shape)


class _OneRow:
    def __init__(self, tables: DeviceTables, shape: Shape) -> None:
        from kernels.score_rows import gpu_cuda

        self._call = gpu_cuda.OneRow(tables, shape.top)

    def run(self, x: np.ndarray, memberships: np.ndarray | None) -> ScoredRows:
        return self._call(x[0], None if memberships is None else memberships[0])


def _plain(array: np.ndarray) -> np.ndarray:
    """Return a C-contiguous array that may be written to, which is what torch takes; a copy only where it has to be."""
    return array if array.flags.c_contiguous and array.flags.writeable else np.array(array, order="C")
