"""What batches truly cost: the processor's line measured now, the accelerator's from docs/benchmarks/gpu.json, and the engine
around either, given."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from inference_core.runtime import default_executor
from inference_core.runtime.cost import CostLine, fit_line, measure
from tests.benchmarks.side_by_side.environment import ROOT
from tests.benchmarks.side_by_side.program import compiled_tables

TREES, DEPTH, FEATURES, TOP = 200, 6, 32, 4
GPU_FIGURES = ROOT / "docs" / "benchmarks" / "gpu.json"
# Bytes of a row in (features) and out (margin, rule words, largest contributions), and what PCIe 5 moves at the least.
ROW_BYTES = FEATURES * 4 + 8 + 16 + TOP * 8
_PCIE_BYTES_PER_US = 25_000.0


@dataclass(frozen=True)
class Costs:
    """Attributes:
    cpu, cpu_reduced, cuda, cuda_reduced: of the program alone; the reduced one has half the trees, standing for a program
        without its most expensive part.
    memory_bytes_per_us: what one core copies.
    """

    cpu: CostLine
    cpu_reduced: CostLine
    cuda: CostLine
    cuda_reduced: CostLine
    memory_bytes_per_us: float

    def lines(self, engine: CostLine) -> dict[tuple[str, str], CostLine]:
        """Return the lines of both units with the engine around the program: parsing, features, decision, answer, commit."""
        programs = {
            ("cpu:0", "full"): self.cpu, ("cpu:0", "reduced"): self.cpu_reduced,
            ("cuda:0", "full"): self.cuda, ("cuda:0", "reduced"): self.cuda_reduced,
        }  # fmt: skip
        return {
            key: CostLine(line.variant, line.fixed_us + engine.fixed_us, line.row_us + engine.row_us)
            for key, line in programs.items()
        }


def measure_costs(gpu_figures: Path = GPU_FIGURES) -> Costs:
    """Measure the processor with forests of 200 and 100 trees; read the accelerator's figures."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(4_096, FEATURES)).astype(np.float32)
    y = (x[:, :4].sum(axis=1) + rng.normal(size=len(x)) > 0).astype(np.int8)
    full, reduced = (_cpu_line(variant, trees, x, y) for variant, trees in (("full", TREES), ("reduced", TREES // 2)))
    cuda = gpu_line(json.loads(gpu_figures.read_text())["forest"])
    # No figure of a smaller forest is in the file: its fixed part is the launch, which does not shrink.
    halved = CostLine("reduced", cuda.fixed_us, cuda.row_us / 2)
    return Costs(full, reduced, cuda, halved, _copy_bytes_per_us())


def gpu_line(benchmark: dict[str, Any]) -> CostLine:
    """Return the line of the full pass from host memory to host memory.

    One row is measured so ("python_function": pinned memory, no copy). Batches are measured on the device only: to them comes
    what copies within the graph cost one row ("graph_with_copies_inside"), and the bytes of further rows at 25 GB/s.
    """
    one = benchmark["one_row"]
    full = {line["rows"]: line["full_us"] for line in benchmark["sizes"]}
    copies = one["graph_with_copies_inside"]["p50_us"] - full[1]
    rows = [1, 100, 1_000, 10_000]
    times = [one["python_function"]["p50_us"], *(full[n] + copies + n * ROW_BYTES / _PCIE_BYTES_PER_US for n in rows[1:])]
    return fit_line("full", rows, times)


def _cpu_line(variant: str, trees: int, x: np.ndarray, y: np.ndarray) -> CostLine:
    names = [f"f{i}" for i in range(FEATURES)]
    matrix = xgboost.DMatrix(x, y, feature_names=names)
    settings = {"objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.05, "max_bin": 256, "nthread": 1}
    model = bytes(xgboost.train(settings, matrix, trees).save_raw("json"))
    executor = default_executor(compiled_tables(names, (), model))
    return measure(variant, lambda n: executor.run(x[:n], None, TOP))


def _copy_bytes_per_us(size: int = 1 << 26) -> float:
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - began)
    return 2 * size / (best * 1e6)
