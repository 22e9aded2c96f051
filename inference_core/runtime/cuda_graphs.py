"""The capture of a CUDA or ROCm graph, for whoever replays one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def capture_graph(
    stream: torch.cuda.Stream, work: Callable[[], None], between: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
) -> torch.cuda.CUDAGraph:
    """Return a graph that does on the stream what `work` launches and copies there; it is run a few times before.

    Args:
        between: events with external=True, which each replay records before and after the work.
    """
    import torch

    begin, end = between or (None, None)
    with torch.cuda.stream(stream):
        for _ in range(2):  # compiles, and allocates what the first run needs
            work()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            if begin is not None:
                begin.record()
            work()
            if end is not None:
                end.record()
    return graph
