"""This project on the forest: the public function of the fused pass, from raw rows."""

from __future__ import annotations

import time

import numpy as np

from tests.benchmarks.forest.case import ForestCase
from tests.benchmarks.side_by_side.engines import Engine, Way
from tests.benchmarks.side_by_side.program import compiled_tables, kernel_facts

TOP = 4
OURS = "ours"
OURS_WITH_CONTRIBUTIONS = f"ours, with the {TOP} largest contributions"


def open_ours(case: ForestCase) -> Engine:
    return _engine(case, OURS, top=0)


def open_ours_with_contributions(case: ForestCase) -> Engine:
    return _engine(case, OURS_WITH_CONTRIBUTIONS, top=TOP)


def _engine(case: ForestCase, name: str, top: int) -> Engine:
    from inference_core.runtime import cpu_device
    from inference_core.runtime.cpu import ThreadedRows
    from kernels.score_rows import score_rows

    started = time.perf_counter()
    tables = compiled_tables(case.feature_names, (), case.model)
    prepare_s = time.perf_counter() - started

    def score(x: np.ndarray):
        return lambda: score_rows(tables, x, top=top).margin

    one = Way("score_rows, 1 thread, margin read", score)
    threaded = ThreadedRows(tables, cpu_device(), 2)
    two = Way("the runtime's ThreadedRows, 2 threads", lambda x: lambda: threaded.run(x, None, top).margin)
    return Engine(name, "this commit", {1: (one,), 2: (two, one)}, prepare_s, facts=kernel_facts(tables))
