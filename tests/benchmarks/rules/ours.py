"""This project on the rules: a program of rules alone, from float32 columns."""

from __future__ import annotations

import time

import numpy as np

from tests.benchmarks.rules.case import RulesCase
from tests.benchmarks.side_by_side.engines import Call, Engine, Way
from tests.benchmarks.side_by_side.program import compiled_tables, kernel_facts

OURS = "ours"


def open_ours(case: RulesCase) -> Engine:
    from inference_core.runtime import cpu_device
    from inference_core.runtime.cpu import ThreadedRows
    from kernels.bin_features import bin_features
    from kernels.rule_mask import rule_mask
    from kernels.score_rows import score_rows

    started = time.perf_counter()
    tables = compiled_tables(case.names, case.product_rules, None)
    prepare_s = time.perf_counter() - started
    threaded = ThreadedRows(tables, cpu_device(), 2)

    def read(words: np.ndarray) -> np.ndarray:
        return unpacked(words, len(case.rules))

    def two_steps(x: np.ndarray) -> Call:
        return lambda: rule_mask(tables.rules, bin_features(tables.cuts, x)).hit

    one = (
        Way("score_rows, 1 thread", lambda x: lambda: score_rows(tables, x).bits.hit, read),
        Way("bin_features, then rule_mask, 1 thread", two_steps, read),
    )
    two = (Way("the runtime's ThreadedRows, 2 threads", lambda x: lambda: threaded.run(x, None, 0).bits.hit, read), *one)
    return Engine(OURS, "this commit", {1: one, 2: two}, prepare_s, facts=kernel_facts(tables))


def unpacked(words: np.ndarray, rules: int) -> np.ndarray:
    """Return bool [B, R] of words [B, W] uint64."""
    bits = np.unpackbits(np.ascontiguousarray(words, "<u8").view(np.uint8), axis=1, bitorder="little")
    return bits[:, :rules].astype(bool)
