"""What depends on constant arguments alone: folded weights, packed panels. Worked out for a set of tensors, and when they change.

A set is known by its tensors themselves, their version counters and their addresses. batch_norm's statistics are compared with
what they were, because training changes them uncounted. Other writes that PyTorch does not count (through .data, or through a
NumPy array that shares the memory) are not seen; inference tensors have no counter and are never remembered.
"""

from __future__ import annotations

import ctypes
import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference_core.fusion.interpret import value_of
from inference_core.fusion.ir import Graph
from inference_core.fusion.placement import Packed

if TYPE_CHECKING:
    import torch

# A champion and its challengers; each set keeps its tensors alive.
MOST_SETS = 8
_LANES = 16


@dataclass(frozen=True, eq=False)
class ConstantSet:
    """Attributes:
    guards: (position, tensor, version, address) of each constant argument.
    table: what the kernel is given, made by the back end from `tensors`.
    tensors: the constants' values, kept alive.
    is_remembered: whether a later call can be told that nothing changed.
    """

    guards: tuple[tuple[int, Any, int, int], ...]
    table: Any
    tensors: tuple[Any, ...]
    is_remembered: bool


class ConstantSets:
    """The last few sets of one kernel, by the identities of their tensors."""

    def __init__(
        self, graph: Graph, packed: Sequence[Packed], positions: Sequence[int], make_table: Callable[[list[torch.Tensor]], Any],
        watched: Sequence[int] = (),
    ) -> None:
        """Args:
        positions: of the constant arguments among the function's tensors.
        make_table: from the values to what a call takes.
        watched: arguments whose values are compared; behind the constants the table has each of them and what it was.
        """  # fmt: skip
        self._graph, self._packed, self._positions, self._make_table = graph, tuple(packed), tuple(positions), make_table
        self._watched = tuple(watched)
        self._sets: OrderedDict[tuple[int, ...], ConstantSet] = OrderedDict()
        self.worked_out = 0

    def of(self, args: Sequence[torch.Tensor]) -> ConstantSet:
        """Return the set of these arguments, from memory where nothing changed."""
        key = tuple(id(args[position]) for position in self._positions)
        known = self._sets.get(key)
        if known is not None and self._still_holds(known, args):
            return known
        made = self._make(args)
        if made.is_remembered:
            self._sets[key] = made
            while len(self._sets) > MOST_SETS:
                self._sets.popitem(last=False)
        return made

    def _still_holds(self, known: ConstantSet, args: Sequence[torch.Tensor]) -> bool:
        same = all(
            args[position] is tensor and tensor._version == version and tensor.data_ptr() == address
            for position, tensor, version, address in known.guards
        )
        return same and self.unchanged(known)

    def unchanged(self, known: ConstantSet) -> bool:
        """Whether what is watched has the values that were folded."""
        pairs = known.tensors[len(self._packed) :]
        return all(_same_bits(now, before) for now, before in zip(pairs[::2], pairs[1::2], strict=True))

    def _make(self, args: Sequence[torch.Tensor]) -> ConstantSet:
        import torch

        # Before the values are read: a change meanwhile is then seen by the next call.
        tensors = [(position, args[position]) for position in self._positions]
        guards = tuple((position, tensor, _version(tensor), tensor.data_ptr()) for position, tensor in tensors)
        with torch.no_grad():
            watched = [tensor for at in self._watched for tensor in (args[at].detach(), args[at].detach().clone())]
            values: dict[int, torch.Tensor] = {}
            for at, node in enumerate(self._graph.nodes):
                if not node.varies:
                    values[at] = value_of(node, [values[arg] for arg in node.args], args)
            made = [packed(values[one.node], one.form) for one in self._packed] + watched
        self.worked_out += 1
        return ConstantSet(guards, self._make_table(made), tuple(made), not any(tensor.is_inference() for _, tensor in tensors))


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Compare two float32 tensors of this host's memory as they lie; NaN is equal to itself."""
    return not _libc().memcmp(a.data_ptr(), b.data_ptr(), 4 * a.numel())


@functools.cache
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    return library


def packed(value: torch.Tensor, form: str) -> torch.Tensor:
    """Return a value as a kernel reads it (placement.Packed)."""
    import torch

    value = value.detach()
    if form == "plain":
        return value.contiguous()
    behind = -value.shape[0] % _LANES
    padded = torch.nn.functional.pad(value, (0, behind) if value.ndim == 1 else (0, 0, 0, behind))
    if form == "padded":
        return padded.contiguous()
    return padded.reshape(-1, _LANES, padded.shape[1]).transpose(1, 2).contiguous()
