"""Interleaved timing of one case on the CPU, and how often torch.compile compiled."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tests.benchmarks.fuse.engines import COMPILE, EAGER, OURS, CaseEngines, difference, flat
from tests.benchmarks.fuse.functions import Case


@dataclass(frozen=True)
class Effort:
    """Attributes:
    sizes: rows of a batch.
    rounds: how often each engine has its turn.
    round_seconds: how long a turn is.
    """

    sizes: tuple[int, ...] = (1, 8, 64, 256, 1024)
    rounds: int = 9
    round_seconds: float = 0.03


def measure_case(case: Case, effort: Effort, say: Callable[[str], None]) -> dict[str, Any]:
    """Return microseconds of every engine for every size, the largest difference to eager, and what was compiled."""
    torch._dynamo.reset()
    engines = CaseEngines(case)
    times: dict[int, dict[str, float]] = {}
    worst: dict[str, float] = {}
    with torch.no_grad():
        for rows in effort.sizes:
            arguments = case.arguments(rows)
            functions = engines.functions()
            expected = case.function(*arguments)
            # A second size is what makes dynamo compile for any: it must have happened before it is timed.
            for warm in (rows, rows + 2, rows):
                of = arguments if warm == rows else _other_batch(case, warm, arguments)
                for name, function in functions.items():
                    if warm == rows or name in (COMPILE, OURS):
                        result = function(*of)
                        if warm == rows:
                            worst[name] = max(worst.get(name, 0.0), difference(result, expected))
            times[rows] = _interleaved(functions, arguments, effort)
            say(f"{case.name:20s} {rows:5d} rows: " + ", ".join(f"{name} {us:.1f}" for name, us in times[rows].items()) + " us")
    return {
        "name": case.name, "published": case.is_published, "times_us": times, "difference": worst,
        "compilations": {"torch.compile": _recompiles(case), "deepseek_fuse": engines.ours.fused.compilations},
        "operations": _operations(case), "explain": engines.ours.explain(),
    }  # fmt: skip


def _other_batch(case: Case, rows: int, arguments: tuple) -> tuple:
    """Return arguments of another size with the very same constants."""
    made = case.make(rows, torch.Generator().manual_seed(rows))
    return (*made, *arguments[len(made) :])


def _interleaved(functions: dict[str, Callable[..., Any]], arguments: tuple, effort: Effort) -> dict[str, float]:
    turns: dict[str, list[float]] = {name: [] for name in functions}
    repeat = {name: _calls_in(function, arguments, effort.round_seconds) for name, function in functions.items()}
    for _ in range(effort.rounds):
        for name, function in functions.items():
            turns[name].append(_turn(function, arguments, repeat[name]))
    return {name: round(statistics.median(taken) * 1e6, 2) for name, taken in turns.items()}


def _calls_in(function: Callable[..., Any], arguments: tuple, seconds: float) -> int:
    calls, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds / 2:
        function(*arguments)
        calls += 1
    return max(1, round(calls * seconds / spent))


def _turn(function: Callable[..., Any], arguments: tuple, calls: int) -> float:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        function(*arguments)  # caches and thread pools
        began = time.perf_counter()
        for _ in range(calls):
            function(*arguments)
        return (time.perf_counter() - began) / calls
    finally:
        if was_enabled:
            gc.enable()


def _recompiles(case: Case) -> int:
    """Return how often torch.compile compiles, as it comes, when these sizes follow one another."""
    torch._dynamo.reset()
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    from tests.benchmarks.fuse.engines import own_copy

    function = torch.compile(own_copy(case.function), backend=counter)
    for rows in (1, 8, 64, 256, 1024):
        function(*case.arguments(rows))
    torch._dynamo.reset()
    return counter.frame_count


def _operations(case: Case) -> dict[str, int]:
    """Return how many operations of PyTorch one call of eager, and of ours, runs."""
    arguments = case.arguments(64)
    return {EAGER: _dispatched(case.function, arguments), OURS: 1}


class _Count(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # Views run no kernel: they hand on the memory that they were given.
        given = {one.data_ptr() for one in args if isinstance(one, torch.Tensor)}
        self.calls += not any(isinstance(one, torch.Tensor) and one.data_ptr() in given for one in flat(result))
        return result


def _dispatched(function: Callable[..., Any], arguments: tuple) -> int:
    with torch.no_grad(), _Count() as count:
        function(*arguments)
    return count.calls
