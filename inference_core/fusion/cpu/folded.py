"""Large convolutions on the CPU: the library's own with folded weights, and what follows done in place where it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from inference_core.fusion.constants import ConstantSets
from inference_core.fusion.cpu.kernel import MISS
from inference_core.fusion.interpret import value_of
from inference_core.fusion.ir import Graph, Node, NotFusable
from inference_core.fusion.operations import ELEMENTWISE
from inference_core.fusion.placement import Packed, constants_read

if TYPE_CHECKING:
    import torch


class FoldedConvolution:
    """A graph of one convolution and operations on its elements.

    Attributes:
        constants: the sets of folded weights that it was given.
        most_rows: as in CpuKernel.
    """

    most_rows = None

    def __init__(self, graph: Graph, tensors: int, statistics: frozenset[int]) -> None:
        """Raises NotFusable where the graph is another one, or nothing was folded."""
        varying = [node for node in graph.nodes if node.varies and node.op != "argument"]
        inputs = [node for node in graph.nodes if node.varies and node.op == "argument"]
        if len(inputs) != 1 or [node.op for node in varying].count("conv2d") != 1 or not graph.single:
            raise NotFusable("a large layer among others")
        if varying[0].op != "conv2d" or any(node.op not in ELEMENTWISE for node in varying[1:]):
            raise NotFusable("a large layer with other than operations on elements behind it")
        self._graph, self._input = graph, inputs[0].value
        self._packed = [Packed(at) for at in constants_read(graph)]
        read = {node.value for node in graph.nodes if node.op == "argument"}
        fixed = [at for at in range(tensors) if at in read and at != self._input]
        watched = sorted(at for at in statistics if at in fixed)
        self.constants = ConstantSets(graph, self._packed, fixed, tuple, watched)
        self._steps = [(at, node) for at, node in enumerate(graph.nodes) if node.varies and node.op != "argument"]
        self._readers = [len(users) for users in graph.users()]

    def account(self) -> str:
        behind = len(self._steps) - 1
        return f"the library's convolution with folded weights, {behind} operations behind it, in place where nobody else reads"

    def call_for(self, positions: Sequence[int], count: int, values: Sequence[tuple[int, type, Any]] = ()) -> Callable[..., Any]:
        """Return the function of a call's arguments; its checks are those made at leisure, little beside such a layer."""

        def call(args: Sequence[Any]) -> Any:
            return MISS

        def checked(args: Sequence[Any]) -> Any:
            return self._run([args[position] for position in positions])

        call.admit, call.checked = lambda args: None, checked  # type: ignore[attr-defined]
        return call

    def _run(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        held = self.constants.of(tensors)
        values = dict(zip((one.node for one in self._packed), held.table, strict=False))
        for at, node in enumerate(self._graph.nodes):
            if node.op == "constant" and node.row == ():
                values[at] = value_of(node, (), ())
            elif node.varies and node.op == "argument":
                values[at] = tensors[self._input]
        for at, node in self._steps:
            values[at] = self._step(node, values)
        return values[self._graph.outputs[0]]

    def _step(self, node: Node, values: dict[int, torch.Tensor]) -> torch.Tensor:
        nodes, first = self._graph.nodes, node.args[0]
        # ReLU is a maximum with zero; what the convolution wrote is nobody's but ours.
        if node.op == "maximum" and nodes[first].op == "conv2d" and self._readers[first] == 1:
            zero = nodes[node.args[1]]
            if zero.op == "constant" and zero.value == 0:
                return values[first].relu_()
        return value_of(node, [values[arg] for arg in node.args], ())
