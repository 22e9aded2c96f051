"""One function for one combination of shapes: recorded, lowered, improved, judged and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_core.fusion import tracer
from inference_core.fusion.cost import Verdict, judge, traffic
from inference_core.fusion.cpu.folded import FoldedConvolution
from inference_core.fusion.cpu.kernel import CpuKernel
from inference_core.fusion.ir import Graph, LargeLayer, NotFusable, statistics_of
from inference_core.fusion.lower import lower
from inference_core.fusion.pipeline import stages
from inference_core.fusion.signature import CallShape


@dataclass(frozen=True)
class Refusal:
    """A combination of shapes that is left untouched, and why."""

    shape: CallShape
    reason: str

    def fits(self, shape: CallShape) -> bool:
        """Whether a call is of this kind: all the same but for the batch, as far as that can be told."""
        return _same_but_batch(self.shape, shape, _likely_batch(self.shape)) and _likely_batch(self.shape) == _likely_batch(shape)


@dataclass(frozen=True, eq=False)
class Plan:
    """Attributes:
    shape: the call that it was made for.
    varying: for each tensor, whether its first dimension is the batch.
    accounts: what each pass did.
    verdict: the bytes saved.
    statistics: tensors that are compared with what was folded, or read by the kernel itself.
    kernel: what was compiled.
    call: checks and runs (cpu.py, gpu.py).
    """

    shape: CallShape
    varying: tuple[bool, ...]
    accounts: tuple[str, ...]
    verdict: Verdict
    statistics: frozenset[int]
    kernel: Any
    call: Any

    def fits(self, shape: CallShape) -> bool:
        """Whether a call is of this kind: all the same but for the batch, which is one for all tensors that vary."""
        batches = {one.shape[0] for one, varies in zip(shape.tensors, self.varying, strict=False) if varies and one.shape}
        return len(batches) == 1 and _same_but_batch(self.shape, shape, self.varying)

    def check(self, args: Sequence[Any]) -> None:
        """Raises NotFusable where a tensor that is read as it lies is not contiguous, or the batch is one for the library."""
        for tensor, (at, varies) in enumerate(zip(self.shape.positions, self.varying, strict=True)):
            if (varies or tensor in self.statistics) and not args[at].is_contiguous():
                raise NotFusable(f"argument {at} is not contiguous")
            if varies and self.kernel.most_rows is not None and args[at].shape[0] > self.kernel.most_rows:
                raise NotFusable(f"more than {self.kernel.most_rows} rows of a matrix product: the library's own is faster")


def make_plan(function: Callable[..., Any], shape: CallShape, folder: Path | None) -> Plan:
    """Return the compiled function for calls like this one.

    Raises:
        NotFusable: it cannot be fused, or nothing would be saved.
        NoCompiler: there is none for the device.
    """
    given = {at: value for at, _, value in shape.values}
    count = len(shape.positions) + len(given)
    recorded = tracer.trace(function, [given.get(at) if at in given else tracer.Tensor for at in range(count)])
    lowered = lower(recorded, shape.tensors)
    statistics, is_gpu = statistics_of(lowered.graph), shape.device.startswith("cuda")
    improved, accounts = zip(*stages(lowered.graph, fold=not (is_gpu and statistics)), strict=True)
    try:
        verdict = judge(lowered.graph, improved[-1], lowered.calls)
        kernel = _kernel(improved[-1], shape, folder, statistics)
    except LargeLayer:
        if shape.device != "cpu":
            raise
        kernel = FoldedConvolution(improved[-1], len(shape.tensors), statistics)
        verdict = traffic(lowered.graph, improved[-1], lowered.calls)
    call = kernel.call_for(shape.positions, count, shape.values)
    return Plan(shape, lowered.varying, accounts, verdict, statistics, kernel, call)


def _kernel(graph: Graph, shape: CallShape, folder: Path | None, statistics: frozenset[int]) -> Any:
    if shape.device == "cpu":
        return CpuKernel(graph, len(shape.tensors), folder, statistics)
    if shape.device.startswith("cuda"):
        from inference_core.fusion.gpu.kernel import GpuKernel

        return GpuKernel(graph, len(shape.tensors), folder, statistics)
    raise NotFusable(f"no kernels are written for the device {shape.device}")


def _likely_batch(shape: CallShape) -> tuple[bool, ...]:
    first = next((one.shape[0] for one in shape.tensors if one.shape), None)
    return tuple(bool(one.shape) and one.shape[0] == first for one in shape.tensors)


def _same_but_batch(a: CallShape, b: CallShape, varying: Sequence[bool]) -> bool:
    if (a.positions, a.values, a.device) != (b.positions, b.values, b.device):
        return False
    return all(
        one.kind is other.kind and len(one.shape) == len(other.shape) and one.shape[int(varies) :] == other.shape[int(varies) :]
        for one, other, varies in zip(a.tensors, b.tensors, varying, strict=True)
    )
