"""Large convolutions on the CPU: the library's own with folded weights, and what follows done in place where it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from inference_core.fusion.call_plan import MISS
from inference_core.fusion.constants import ConstantSet, ConstantSets
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
        """Raises NotFusable where the graph is another one."""
        import torch

        self._convolve = torch.conv2d
        varying = [node for node in graph.nodes if node.varies and node.op != "argument"]
        inputs = [node for node in graph.nodes if node.varies and node.op == "argument"]
        if len(inputs) != 1 or [node.op for node in varying].count("conv2d") != 1 or not graph.single:
            raise NotFusable("a large layer among others")
        if varying[0].op != "conv2d" or any(node.op not in ELEMENTWISE for node in varying[1:]):
            raise NotFusable("a large layer with other than operations on elements behind it")
        self._graph, self._input = graph, inputs[0].value
        self._users = graph.users()
        self._packed = [Packed(at) for at in constants_read(graph)]
        read = {node.value for node in graph.nodes if node.op == "argument"}
        fixed = [at for at in range(tensors) if at in read and at != self._input]
        watched = sorted(at for at in statistics if at in fixed)
        self.constants = ConstantSets(graph, self._packed, fixed, tuple, watched)
        self._zeros = {at for at in range(len(graph.nodes)) if self._is_folded_zero(at)}
        self._given = [
            (at, node) for at, node in enumerate(graph.nodes)
            if node.op == "argument" and node.varies or node.op == "constant" and node.row == () and at not in self._zeros
        ]  # fmt: skip
        self._steps = [(at, node) for at, node in enumerate(graph.nodes) if node.varies and node.op != "argument"]

    def account(self) -> str:
        behind = len(self._steps) - 1
        return f"the library's convolution with folded weights, {behind} operations behind it, in place where nobody else reads"

    def call_for(self, positions: Sequence[int], count: int, values: Sequence[tuple[int, type, Any]] = ()) -> Callable[..., Any]:
        """Return the function of a call's arguments that checks and runs, as CpuKernel.call_for does."""
        import torch

        image, shapes = positions[self._input], set()
        grad_enabled, is_autocast, plain = torch.is_grad_enabled, torch._C._is_any_autocast_enabled, torch.Tensor
        latest: Any = None

        def call(args: Sequence[Any]) -> Any:
            entry = latest
            if entry is None or len(args) != count or is_autocast():
                return MISS
            if any(type(args[at]) is not kind or args[at] != value for at, kind, value in values):
                return MISS
            x, (guards, held) = args[image], entry
            if type(x) is not plain or x.dtype is not torch.float32 or not x.is_cpu or x.shape[1:] not in shapes:
                return MISS
            for position, tensor, version, address in guards:
                given = args[position]
                if given is not tensor or given._version != version or given.data_ptr() != address:
                    return MISS
            if grad_enabled() and any(args[position].requires_grad for position in positions):
                return MISS
            return self._run(x, held) if x.is_contiguous() and self.constants.unchanged(held) else MISS

        def admit(args: Sequence[Any]) -> None:
            nonlocal latest
            shapes.add(args[image].shape[1:])
            held = self.constants.of([args[position] for position in positions])
            guards = tuple((positions[position], *rest) for position, *rest in held.guards)
            latest = (guards, held) if held.is_remembered else None

        def checked(args: Sequence[Any]) -> Any:
            return self._run(args[image], self.constants.of([args[position] for position in positions]))

        call.admit, call.checked = admit, checked  # type: ignore[attr-defined]
        return call

    def _run(self, image: torch.Tensor, held: ConstantSet) -> torch.Tensor:
        values = dict(zip((one.node for one in self._packed), held.table, strict=False))
        for at, node in self._given:
            values[at] = image if node.op == "argument" else value_of(node, (), ())
        for at, node in self._steps:
            values[at] = self._step(node, values)
        return values[self._graph.outputs[0]]

    def _step(self, node: Node, values: dict[int, torch.Tensor]) -> torch.Tensor:
        if node.op == "conv2d":
            bias = values[node.args[2]] if len(node.args) == 3 else None
            return self._convolve(values[node.args[0]], values[node.args[1]], bias, *node.value)
        if node.op == "maximum" and node.args[1] in self._zeros:
            return values[node.args[0]].relu_()
        return value_of(node, [values[arg] for arg in node.args], ())

    def _is_folded_zero(self, at: int) -> bool:
        """Whether a constant is the zero of a ReLU right behind the convolution, whose result is nobody's but ours."""
        node = self._graph.nodes[at]
        if node.op != "constant" or node.value != 0 or len(self._users[at]) != 1:
            return False
        (user,) = self._users[at]
        reader = self._graph.nodes[user]
        first = reader.args[0]
        return reader.op == "maximum" and self._graph.nodes[first].op == "conv2d" and self._users[first] == [user]
