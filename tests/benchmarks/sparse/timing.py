"""Time and energy of work on a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from scoring.energy import device_joules

Step = Callable[[], object]


def captured(steps: Sequence[Step]) -> list[Step]:
    """Return the replays of the steps as CUDA graphs, so that starting them from Python costs next to nothing."""
    replays = []
    for step in steps:
        step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        replays.append(graph.replay)
    return replays


def microseconds(steps: Sequence[Step], seconds: float = 0.15) -> float:
    """Return the median time of a step by the device's own clock, of five runs that take the steps in turn.

    Several steps with inputs of their own keep what one leaves in the cache from the next.
    """
    for step in steps:
        step()
    once = _run(steps, 3)
    count = max(3, min(500, int(seconds / 5 / once * 1e6)))
    return statistics.median(_run(steps, count) for _ in range(5))


def _run(steps: Sequence[Step], count: int) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for number in range(count):
        steps[number % len(steps)]()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / count * 1e3


def watts(steps: Sequence[Step], seconds: float = 2.5, device: str = "gpu:0") -> dict[str, float] | None:
    """Return the mean power of a step that is repeated without a pause, with its time; None where energy cannot be told.

    The counter is the board's own (NVML, total energy since the driver was loaded: the whole board with its memory, not the
    host). It moves every few tens of milliseconds, so the loop takes seconds; its first half second is not counted,
    in which clocks and temperature settle. Steps are replays of graphs (captured), so that the GPU does not wait for Python.
    """
    if device not in device_joules():
        return None
    _repeat(steps, 0.5)
    joules, begin = device_joules()[device], time.perf_counter()
    count = _repeat(steps, seconds)
    elapsed = time.perf_counter() - begin
    used = device_joules()[device] - joules
    return {"watts": used / elapsed, "us": elapsed / count * 1e6, "seconds": elapsed}


def _repeat(steps: Sequence[Step], seconds: float) -> int:
    together = max(1, int(0.1e6 / _run(steps, 3)))  # a tenth of a second
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        for _ in range(together):
            steps[count % len(steps)]()
            count += 1
        torch.cuda.synchronize()
    return count
