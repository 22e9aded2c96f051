"""What a call looks like: which of its arguments are tensors, of which shape and kind, and what forbids fusing it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference_core.fusion.ir import Kind, NotFusable
from inference_core.fusion.lower import TensorArgument

if TYPE_CHECKING:
    import torch

_PLAIN_VALUES = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class CallShape:
    """Attributes:
    positions: of the tensors among the arguments.
    tensors: what each is like.
    values: the other arguments, by position, with their types: True and 1 are different.
    device: "cpu", or a GPU's type and number.
    """

    positions: tuple[int, ...]
    tensors: tuple[TensorArgument, ...]
    values: tuple[tuple[int, type, Any], ...]
    device: str


def parameters_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function whose arguments can all be given by position.

    Raises:
        NotFusable: it takes any number of arguments, or some by name alone.
    """
    signature = inspect.signature(function)
    unfit = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    if any(one.kind in unfit for one in signature.parameters.values()):
        raise NotFusable("it takes arguments by name alone")
    return signature


def call_shape(args: Sequence[Any]) -> CallShape:
    """Return what a call looks like.

    Raises:
        NotFusable: an argument forbids fusing; said so that it names what would have to change.
    """
    import torch

    positions = tuple(at for at, one in enumerate(args) if isinstance(one, torch.Tensor))
    if not positions:
        raise NotFusable("no argument is a tensor")
    tensors = [args[at] for at in positions]
    _check_modes(tensors)
    described = tuple(_described(at, args[at]) for at in positions)
    devices = {str(tensor.device) for tensor in tensors}
    if len(devices) > 1:
        raise NotFusable(f"tensors on several devices: {', '.join(sorted(devices))}")
    values = tuple((at, type(one), one) for at, one in enumerate(args) if at not in positions)
    for at, kind, one in values:
        if kind not in _PLAIN_VALUES or one != one:
            raise NotFusable(f"argument {at} is {kind.__name__}; tensors, numbers, truths, texts and None can be fused")
    return CallShape(positions, described, values, devices.pop())


def _check_modes(tensors: Sequence[torch.Tensor]) -> None:
    import torch

    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise NotFusable("a tensor requires a gradient: training runs the untouched function, and nothing is folded")
    if torch._C._is_any_autocast_enabled():
        raise NotFusable("autocast is on: PyTorch would compute in another type")


def _described(at: int, tensor: torch.Tensor) -> TensorArgument:
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise NotFusable(f"argument {at} is a {type(tensor).__name__}, which may compute in its own way")
    kinds = {torch.float32: Kind.NUMBER, torch.bool: Kind.TRUTH}
    if tensor.layout is not torch.strided or tensor.dtype not in kinds:
        raise NotFusable(f"argument {at} is {tensor.dtype}, {tensor.layout}; float32 and bool in plain memory are fused")
    if tensor.is_neg() or torch._C._functorch.maybe_current_level() is not None:
        raise NotFusable(f"argument {at} is negated on reading, or batched by functorch")
    return TensorArgument(tuple(tensor.shape), kinds[tensor.dtype])
