"""Records what a plain function does with its tensors, by running it once on PyTorch's proxies (torch.fx).

Nothing is computed. Control flow that looks at a value or a shape cannot be recorded and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from inference_core.fusion.ir import NotFusable

if TYPE_CHECKING:
    from torch import fx


class Tensor:
    """Stands for a tensor among the arguments that `trace` is given."""


def trace(function: Callable[..., Any], arguments: Sequence[Any]) -> fx.Graph:
    """Return the recorded operations; the placeholders stand for the arguments that are `Tensor`, in their order.

    Args:
        arguments: of the function, by position: `Tensor` itself, or a plain value that is taken as it is.

    Raises:
        NotFusable: the function does what cannot be recorded; the message says what.
    """
    from torch import fx
    from torch.fx.proxy import GraphAppendingTracer, TraceError

    graph = fx.Graph()
    recorder = GraphAppendingTracer(graph)
    given = [fx.Proxy(graph.placeholder(f"a{at}"), recorder) if one is Tensor else one for at, one in enumerate(arguments)]
    try:
        result = function(*given)
    except TraceError as error:
        raise NotFusable(f"control flow that depends on a tensor's value or shape ({_first_line(error)})") from error
    except Exception as error:  # whatever it is, the untouched function answers, or raises it to its caller
        raise NotFusable(f"it cannot be recorded: {type(error).__name__}: {_first_line(error)}") from error
    results = result if isinstance(result, tuple) else (result,)
    if not results or not all(isinstance(one, fx.Proxy) for one in results):
        raise NotFusable(f"it returns {type(result).__name__}; a tensor or a tuple of tensors that it computed can be fused")
    graph.output(tuple(one.node for one in results) if isinstance(result, tuple) else result.node)
    return graph


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
