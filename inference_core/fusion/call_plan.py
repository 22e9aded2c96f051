"""What the calls of a fused function check on every device, and how what they need is noted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from inference_core.fusion.constants import ConstantSet, ConstantSets
from inference_core.fusion.interpret import TORCH_KINDS
from inference_core.fusion.ir import Graph

if TYPE_CHECKING:
    import torch

MISS = object()
"""What a call answers that its checks do not let through."""
# Shapes that a call has seen and need no other check; a server has few batch sizes, and a long list costs memory only.
_MOST_SHAPES = 4096


class Source(Protocol):
    """What was compiled. Attributes: `arguments`, the tensors that differ from call to call."""

    arguments: Sequence[int]


class Kernel(Protocol):
    """One graph as compiled for a device."""

    source: Source
    constants: ConstantSets


class CallPlan:
    """A kernel's arguments and results. What a call reads at each run is bound to names of its own: an attribute would be felt.

    Attributes:
        varying: (position among the function's arguments, type, rows by shape that was seen) of each tensor that differs.
        results: (shape of a row, type) of each output.
        order: the output that each of the function's results is.
    """

    def __init__(self, kernel: Kernel, graph: Graph, positions: tuple[int, ...]) -> None:
        """positions: of the tensors among the function's arguments."""
        import torch

        self._kernel, self._positions = kernel, positions
        kinds = {node.value: getattr(torch, TORCH_KINDS[node.kind]) for node in graph.nodes if node.op == "argument"}
        self._shapes: list[dict[Any, int]] = [{} for _ in kernel.source.arguments]
        arguments = zip(kernel.source.arguments, self._shapes, strict=True)
        self.varying = tuple((positions[at], kinds[at], shapes) for at, shapes in arguments)
        outputs = list(dict.fromkeys(graph.outputs))
        self.results = results_of(graph)
        self.order = [outputs.index(at) for at in graph.outputs]

    def tensors(self, args: Sequence[Any]) -> list[torch.Tensor]:
        """Return the tensors of a call's arguments."""
        return [args[position] for position in self._positions]

    def admit(self, tensors: Sequence[torch.Tensor]) -> tuple[ConstantSet, tuple]:
        """Note the shapes of tensors that were checked in full; return their constants, and the guards of those by position."""
        for at, shapes in zip(self._kernel.source.arguments, self._shapes, strict=True):
            if len(shapes) < _MOST_SHAPES:
                shapes[tensors[at].shape] = tensors[at].shape[0]
        held = self._kernel.constants.of(tensors)
        return held, tuple((self._positions[position], *rest) for position, *rest in held.guards)


def results_of(graph: Graph) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Return (shape of a row, type) of each output that a kernel writes."""
    import torch

    nodes = [graph.nodes[at] for at in dict.fromkeys(graph.outputs)]
    return [(node.row, getattr(torch, TORCH_KINDS[node.kind])) for node in nodes]


def shaped(outs: list[torch.Tensor], order: list[int], single: bool) -> Any:
    """Return outputs as the function returns them; one that it returns twice is two tensors: a caller may change one of them."""
    if single:
        return outs[0]
    if order == list(range(len(outs))):
        return tuple(outs)
    seen: set[int] = set()
    result = [outs[at].clone() if at in seen or seen.add(at) else outs[at] for at in order]  # type: ignore[func-returns-value]
    return tuple(result)
