"""python -m tests.inference_core.runtime.check_gpu: the runtime on this host's GPUs, every variant against the reference.

Prints one JSON object: the devices, the cost lines, what each variant took for a few sizes (median, microseconds, host to
host), the ladder's counters, and `wrong`, which is empty where every answer had the reference's bits.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict

import numpy as np

from inference_core.golden import check_golden, golden_rows
from inference_core.runtime import DeviceKind, Ladder, default_executor, detect_devices, make_ready
from inference_core.runtime.executor import Shape as ProgramShape
from kernels.errors import KernelInputError
from kernels.score_rows import ScoreTables
from kernels.score_rows.reference import score_rows as reference
from tests.inference_core.runtime.tables import assert_same
from tests.kernels.random_tables import Shape, random_tables

TOP = 4
SIZES = (1, 16, 256, 4096)
PROGRAMS = {
    "small": Shape(seed=1),
    "rules alone": Shape(trees=0, seed=2),
    "deep": Shape(features=70, trees=20, depth=11, rules=70, seed=3),
    "500 x 6 x 64": Shape(features=64, cuts=200, trees=500, depth=6, rules=50, complete=True, seed=4),
}


def main() -> None:
    devices = detect_devices()
    found = [asdict(device) for device in devices]
    results = {name: check(random_tables(shape), name) for name, shape in PROGRAMS.items()}
    accelerators = sum(device.kind is not DeviceKind.CPU for device in devices)
    print(json.dumps({"devices": found, "accelerators": accelerators, "programs": results}))


def check(tables: ScoreTables, name: str) -> dict:
    """Return what the runtime does with one program on all devices."""
    ladder, golden, wrong = default_executor(tables, detect_devices()), golden_rows(tables, TOP), []
    began = time.perf_counter()
    make_ready(ladder, (), golden.x, golden.memberships, golden.top, 256)
    ready_s = time.perf_counter() - began
    check_golden(golden, ladder)
    rng = np.random.default_rng(5)
    for size in rng.integers(1, 6_000, 40).tolist():
        x, lists = _rows(tables, golden.x, size, rng)
        try:
            assert_same(ladder.run(x, lists, TOP), reference(tables, x, lists, TOP))
        except AssertionError as error:
            wrong.append(f"{name}, {size} rows: {error}")
    return {
        "wrong": wrong,
        "ready_s": round(ready_s, 2),
        "costs": [table.to_json() for table in ladder.costs],
        "static_programs": {shape.rows: variant for variant, shape, _ in ladder.programs()},
        "median_us": timings(ladder, tables, golden.x),
        "counters": asdict(ladder.counters()),
    }


def timings(ladder: Ladder, tables: ScoreTables, some: np.ndarray) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(6)
    batches = {size: _rows(tables, some, size, rng) for size in SIZES}
    taken: dict[str, dict[int, float]] = {}
    for variant in ladder.variants():
        for size, (x, lists) in batches.items():
            run = _runner(variant, size)
            if run is not None:
                taken.setdefault(variant.name, {})[size] = _median_us(run, x, lists)
    return taken


def _runner(variant, size: int):
    if not hasattr(variant, "prepare"):
        return lambda x, lists: variant.run(x, lists, TOP)
    if size > variant.most_rows or variant.needs_complete:
        return None
    try:
        return variant.prepare(ProgramShape(size, TOP, True)).run
    except KernelInputError:
        return None  # it does not take this program


def _median_us(run, x: np.ndarray, lists: np.ndarray) -> float:
    taken = []
    for _ in range(200 if len(x) < 1000 else 20):
        began = time.perf_counter_ns()
        run(x, lists)
        taken.append(time.perf_counter_ns() - began)
    return round(statistics.median(taken) / 1000, 2)


def _rows(tables: ScoreTables, some: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return some[rng.integers(0, len(some), size)], rng.random((size, tables.cuts.lists)) < 0.3


if __name__ == "__main__":
    main()
