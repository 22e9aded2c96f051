"""The same functions on a GPU: latency of a call from the host and back, kernels a call, and what torch.compile compiled.

`gpu_report()` is for the GPU host's run; `python -m tests.benchmarks.fuse.gpu` prints its result as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from inference_core import deepseek_fuse
from tests.benchmarks.fuse.engines import COMPILE, EAGER, OURS, OVERHEAD, difference, own_copy
from tests.benchmarks.fuse.functions import CASES, Case

SIZES = (1, 8, 64, 256, 1024, 65_536)
COMPILED = (COMPILE, OVERHEAD)
_ROUNDS, _CALLS = 5, 60
# PyTorch's own convolutions and products may use TF32 or another algorithm; the functions are float32.
TOLERANCE = 1e-5


def gpu_report(device: str = "cuda:0", processes: int = 7, random_functions: int = 24) -> dict[str, Any]:
    """Return the contract of random functions, and each case's microseconds, kernels and differences on a GPU.

    Args:
        processes: that compile at the same time before anything is timed; what torch.compile made is then found on disk.
        random_functions: how many are compared with eager.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        checked = pool.map_async(check_random, [(seed, device) for seed in range(random_functions)], chunksize=1)
        compiled = pool.map_async(_compile_case, [(at, device) for at in range(len(CASES))], chunksize=1)
        compiled.get()
        contract = [one for one in checked.get() if one]
    ready = time.perf_counter() - began
    cases = [_measure(case, device) for case in CASES]
    faster = [case["name"] for case in cases if _is_faster(case)]
    return {
        "device": torch.cuda.get_device_name(device), "torch": torch.__version__, "compile_seconds": round(ready, 1),
        "random_functions": random_functions, "random_failures": contract, "cases": cases, "functions": len(cases),
        "faster_than_compile": len(faster), "max_diff": max(case["difference"][OURS] for case in cases),
    }  # fmt: skip


def check_random(task: tuple[int, str]) -> str | None:
    """Return what a random function does wrong on a device, or None; what has no form in Triton is left out."""
    from inference_core.fusion.gpu.kernel import GpuKernel, launch
    from inference_core.fusion.ir import NotFusable
    from tests.inference_core.fusion.generated import generated, wrong
    from tests.inference_core.fusion.graphs import final

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    seed, device = task
    case = generated(seed, flat=seed % 2 == 0)
    try:
        graph = final(case.function, [one.to(device) for one in case.arguments(4, seed)])
        kernel = GpuKernel(graph, len(case.rows_of) + len(case.constants), None)
    except NotFusable:
        return None
    for rows in (1, 67):
        arguments = [one.to(device) for one in case.arguments(rows, seed, missing=0.02)]
        outs = dict(zip(dict.fromkeys(graph.outputs), launch(kernel, graph, arguments), strict=True))
        result = outs[graph.outputs[0]] if graph.single else tuple(outs[at] for at in graph.outputs)
        fault = wrong(result, case.function, arguments)
        if fault:
            return f"seed {seed}, {rows} rows: {fault}: {case.steps}"
    return None


def _functions(case: Case) -> dict[str, Callable[..., Any]]:
    return {
        EAGER: case.function,
        COMPILE: torch.compile(own_copy(case.function)),
        OVERHEAD: torch.compile(own_copy(case.function), mode="reduce-overhead"),
        OURS: deepseek_fuse(own_copy(case.function)),
    }


def _compile_case(task: tuple[int, str]) -> None:
    at, device = task
    case = CASES[at]
    functions = _functions(case)
    with torch.no_grad():
        for rows in (1, 8, 64):
            arguments = case.arguments(rows, device)
            for function in functions.values():
                function(*arguments)


def _measure(case: Case, device: str) -> dict[str, Any]:
    torch._dynamo.reset()
    functions, times, worst = _functions(case), {}, dict.fromkeys((EAGER, *COMPILED, OURS), 0.0)
    with torch.no_grad():
        for rows in SIZES:
            arguments = case.arguments(rows, device)
            expected = case.function(*arguments)
            for name, function in functions.items():
                for _ in range(4):  # reduce-overhead runs a new size twice before it captures it
                    result = function(*arguments)
                worst[name] = max(worst[name], difference(result, expected))
            times[rows] = _latencies(functions, arguments)
            if rows == 64:
                kernels = {name: _kernels(function, arguments) for name, function in functions.items()}
                host = {name: _host_us(function, arguments) for name, function in functions.items()}
    return {"name": case.name, "times_us": times, "host_us": host, "difference": worst, "kernels": kernels,
            "compilations": functions[OURS].fused.compilations, "explain": functions[OURS].explain()}  # fmt: skip


def _latencies(functions: dict[str, Callable[..., Any]], arguments: tuple) -> dict[str, float]:
    """Return the median microseconds from a call to its result being there, engines in turn."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(_ROUNDS):
        for name, function in functions.items():
            for _ in range(_CALLS):
                torch.cuda.synchronize()
                began = time.perf_counter_ns()
                function(*arguments)
                torch.cuda.synchronize()
                taken[name].append((time.perf_counter_ns() - began) / 1e3)
    return {name: round(statistics.median(times), 2) for name, times in taken.items()}


def _host_us(function: Callable[..., Any], arguments: tuple) -> float:
    """Return the microseconds that the host is busy with a call, the GPU left to itself."""
    torch.cuda.synchronize()
    began = time.perf_counter_ns()
    for _ in range(_CALLS):
        function(*arguments)
    taken = time.perf_counter_ns() - began
    torch.cuda.synchronize()
    return round(taken / 1e3 / _CALLS, 2)


def _kernels(function: Callable[..., Any], arguments: tuple) -> int:
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        function(*arguments)
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in seen.events())


def _is_faster(case: dict[str, Any]) -> bool:
    return all(
        times[OURS] < min(times[name] for name in COMPILED) for rows, times in case["times_us"].items() if rows <= 1024
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    report = gpu_report()
    for one in report["cases"]:
        for size, times in one["times_us"].items():
            listed = ", ".join(f"{name} {us}" for name, us in times.items())
            print(f"{one['name']:20s} {size:6d} rows: {listed}", file=sys.stderr)
        print(one["kernels"], one["host_us"], one["difference"], one["explain"], file=sys.stderr)
    print(json.dumps(report))
