"""From recorded operations to a graph: shapes are worked out and every operation is looked up in known_calls.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference_core.fusion.ir import Graph, Kind, Node, NotFusable, pruned
from inference_core.fusion.known_calls import CallBuilder, Ref, known_calls, known_methods
from inference_core.fusion.operations import VIEWS

if TYPE_CHECKING:
    from torch import fx

_MOST_UNCLEAR = 8


@dataclass(frozen=True)
class TensorArgument:
    """Attributes:
    shape: the whole shape, the batch included.
    kind: of its elements.
    """

    shape: tuple[int, ...]
    kind: Kind


@dataclass(frozen=True)
class Lowered:
    """Attributes:
    graph: what the function computes for a row.
    varying: for each tensor argument, whether its first dimension is the batch.
    calls: how many operations PyTorch would run one after another, views left out.
    """

    graph: Graph
    varying: tuple[bool, ...]
    calls: int


def lower(recorded: fx.Graph, arguments: Sequence[TensorArgument]) -> Lowered:
    """Return the graph of a recorded function for arguments like these.

    Which arguments vary from row to row follows from the shapes: the first dimension of one of them is taken for the batch, as of
    every other argument that has the same, and the first reading in which all operations fit is used. Should a constant's first
    dimension happen to equal the batch, its operations do not fit when it is read as one, and it is read as a constant.

    Raises:
        NotFusable: no reading fits; with the reason from the one that came furthest.
    """
    reached, reason = -1, NotFusable("no argument has a dimension for the batch")
    for varying in _readings(arguments):
        builder = CallBuilder()
        try:
            return _lower(recorded, arguments, varying, builder)
        except NotFusable as error:
            if builder.done > reached:
                reached, reason = builder.done, error
    raise reason


def _readings(arguments: Sequence[TensorArgument]) -> Iterator[tuple[bool, ...]]:
    sizes = dict.fromkeys(one.shape[0] for one in arguments if one.shape)
    for size in sizes:
        may = [at for at, one in enumerate(arguments) if one.shape and one.shape[0] == size]
        clear = set(may[_MOST_UNCLEAR:])  # so many arguments of one size are no coincidence
        for chosen in itertools.product((True, False), repeat=min(len(may), _MOST_UNCLEAR)):
            varying = clear | {at for at, taken in zip(may, chosen, strict=False) if taken}
            if varying:
                yield tuple(at in varying for at in range(len(arguments)))


def _lower(recorded: fx.Graph, arguments: Sequence[TensorArgument], varying: tuple[bool, ...], builder: CallBuilder) -> Lowered:
    values: dict[Any, Any] = {}
    outputs: Any = ()
    for node in recorded.nodes:
        if node.op == "placeholder":
            at = len(values)
            argument = arguments[at]
            row = argument.shape[int(varying[at]) :]
            values[node] = Ref(builder.add(Node("argument", (), row, varying[at], argument.kind, at)))
        elif node.op == "output":
            outputs = node.args[0]
        else:
            values[node] = _call(builder, node, values)
            builder.done += 1
    single = not isinstance(outputs, tuple)
    refs = [values[one] for one in ((outputs,) if single else outputs)]
    for ref in refs:
        _check_output(builder, ref)
    graph = pruned(Graph(tuple(builder.nodes), tuple(ref.at for ref in refs), single))
    return Lowered(graph, varying, builder.launches)


def _call(builder: CallBuilder, node: fx.Node, values: dict[Any, Any]) -> Any:
    from torch import fx

    handler = (known_methods() if node.op == "call_method" else known_calls()).get(node.target)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    if handler is None:
        raise NotFusable(f"{name} is not an operation that is fused")
    args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), lambda one: values[one])
    try:
        return handler(builder, *args, **kwargs)
    except TypeError as error:
        raise NotFusable(f"{name} with these arguments: {error}") from error


def _check_output(builder: CallBuilder, ref: Any) -> None:
    if not isinstance(ref, Ref):
        raise NotFusable("an output is not a tensor")
    node = builder.nodes[ref.at]
    if not node.varies:
        raise NotFusable("an output does not vary from row to row")
    while node.op in VIEWS:
        node = builder.nodes[node.args[0]]
    if node.op == "argument":
        raise NotFusable("an output is an argument itself, or a view of one")
