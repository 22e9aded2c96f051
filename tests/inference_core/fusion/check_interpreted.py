"""python -m tests.inference_core.fusion.check_interpreted: generated Triton kernels in Triton's interpreter, on the CPU.

Prints one JSON object: what was checked -> what went wrong (empty lists are what sound kernels give), and how many were left out.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

from tests.gpu.interpreter import mend_interpreter

mend_interpreter()

import torch  # noqa: E402

from inference_core.fusion.gpu.kernel import GpuKernel, launch  # noqa: E402
from inference_core.fusion.interpret import evaluate  # noqa: E402
from inference_core.fusion.ir import Graph, NotFusable, statistics_of  # noqa: E402
from tests.benchmarks.fuse.functions import CASES  # noqa: E402
from tests.inference_core.fusion.generated import INTERPRETED, generated, wrong  # noqa: E402
from tests.inference_core.fusion.graphs import every_operation, final, recorded, special_rows  # noqa: E402


def answer(graph: Graph, arguments: list[torch.Tensor], folder: Path, statistics: frozenset[int] = frozenset()):
    """Return what the Triton kernel of a graph answers."""
    kernel = GpuKernel(graph, len(arguments), folder, statistics)
    outs = dict(zip(dict.fromkeys(graph.outputs), launch(kernel, graph, arguments), strict=True))
    return outs[graph.outputs[0]] if graph.single else tuple(outs[at] for at in graph.outputs)


def operations(folder: Path) -> list[str]:
    """Return which operations differ from PyTorch's."""
    graph, names = every_operation(37)
    numbers = special_rows(37, 3, rows=19)
    tame = torch.where(numbers[0].isinf(), 1.0, torch.tanh(numbers[0]))
    tied = numbers[1].nan_to_num(0, 0, 0).clamp(-2, 2).round()
    tied[::3, 7:] = float("nan")
    arguments = [*numbers, *(x > 0 for x in numbers[:2]), tame, tied]
    found = []
    for name, got, expected in zip(names, answer(graph, arguments, folder), evaluate(graph, arguments), strict=True):
        if got.dtype != expected.dtype or not torch.allclose(got.float(), expected.float(), rtol=2e-6, atol=1e-6, equal_nan=True):
            found.append(name)
    return found


def functions(folder: Path) -> tuple[list[str], int]:
    """Return what random functions do wrong, and how many have no form in Triton."""
    found, left_out = [], 0
    for seed in range(INTERPRETED):
        case = generated(seed, flat=seed % 4 != 0)
        try:
            for rows in (4, 0, 1, 33):
                arguments = case.arguments(rows, seed, missing=0.02)
                fault = wrong(answer(final(case.function, arguments), arguments, folder), case.function, arguments)
                if fault:
                    found.append(f"seed {seed}, {rows} rows: {fault}: {case.steps}")
        except NotFusable:
            left_out += 1
    return found, left_out


def own_functions(folder: Path) -> list[str]:
    """Return what the functions of the benchmark do wrong."""
    found = []
    for case in CASES:
        for rows in (1, 35):
            arguments = list(case.arguments(rows))
            statistics = statistics_of(recorded(case.function, arguments))
            graph = final(case.function, arguments, fold=not statistics)
            fault = wrong(answer(graph, arguments, folder, statistics), case.function, arguments)
            found += [f"{case.name}: {fault}"] if fault else []
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        faults, skipped = functions(place)
        told = {"operations": operations(place), "functions": faults, "left_out": skipped, "own": own_functions(place)}
        print(json.dumps(told))
