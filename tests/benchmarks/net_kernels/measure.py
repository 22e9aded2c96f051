"""What is measured on the CPU; every function takes the tables or the net, so that trained ones can be measured too."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.bin_features import bin_features
from kernels.net_margin import NetTable, Path, net_totals, net_work
from kernels.net_margin.reference import table_rows
from kernels.score_rows import PreparedCall, ScoreTables
from tests.benchmarks.net_kernels.case import without_net
from tests.benchmarks.net_kernels.peers import onnx_peers, torch_peers

TOP = 4
BATCHES = (1, 8, 32, 128, 1024)
SKIPPED_BATCHES = (1, 8, 64)
_ROUND_S = 0.003


def one_row(tables: ScoreTables, x: np.ndarray, rounds: int = 20) -> dict[str, dict[str, float]]:
    """Return p50 and p99 in microseconds of single rows through the whole program and through the one without its net, in turn.

    Args:
        x: [n, F] float32, taken one after the other.
    """
    calls = {"whole": PreparedCall(tables, 1, TOP), "without_net": PreparedCall(without_net(tables), 1, TOP)}
    lists = np.zeros((1, tables.cuts.lists), bool) if tables.cuts.lists else None
    times: dict[str, list[int]] = {name: [] for name in calls}
    rows = [x[i : i + 1].copy() for i in range(len(x))]
    for _ in range(rounds):
        for name, call in calls.items():
            for row in rows:
                start = time.perf_counter_ns()
                call.run(row, lists)
                times[name].append(time.perf_counter_ns() - start)
    return {
        name: {"p50_us": float(np.percentile(of, 50)) / 1e3, "p99_us": float(np.percentile(of, 99)) / 1e3}
        for name, of in times.items()
    }


def batches(
    net: NetTable, bins: np.ndarray, sizes: Sequence[int] = BATCHES, rounds: int = 80, with_compile: bool = True
) -> list[dict[str, Any]]:
    """Return for each size the best microseconds of ours and of each peer; one thread, rounds in turn.

    Ours begins with the bins, peers with the rows of the first layer that follow from them, which they are given.
    """
    found = []
    for size in sizes:
        some = np.ascontiguousarray(np.resize(bins, (len(bins), size)) if bins.shape[1] < size else bins[:, :size])
        rows = np.ascontiguousarray(table_rows(net, some).T)
        calls: dict[str, Callable[[], object]] = {"ours int8": lambda some=some: net_totals(net, some)}
        calls |= dict(torch_peers(net, rows, with_compile))
        calls |= dict(onnx_peers(net, rows))
        found.append({"rows": size, "us": best_us(calls, rounds)})
    return found


def skipping(net: NetTable, bins: np.ndarray, sizes: Sequence[int] = SKIPPED_BATCHES, rounds: int = 80) -> list[dict[str, Any]]:
    """Return for each batch size the share of multiplications that meet a zero, that are skipped, and the times of each path."""
    found = []
    for size in sizes:
        parts = [np.ascontiguousarray(bins[:, i * size : (i + 1) * size]) for i in range(bins.shape[1] // size)]
        work = [net_work(net, part) for part in parts]
        every = sum(of.all for of in work)

        def call(path: Path, parts=parts) -> Callable[[], object]:
            return lambda: [net_totals(net, part, path) for part in parts]

        times = best_us({path.name.lower(): call(path) for path in Path}, rounds)
        found.append(
            {
                "rows": size,
                "zero_share": 1 - sum(of.needed for of in work) / every,
                "skipped_share": 1 - sum(of.done for of in work) / every,
                "us_a_batch": {name: us / len(parts) for name, us in times.items()},
                "speedup": times["dense"] / times["auto"],
            }
        )
    return found


def best_us(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the best microseconds of each call: in turn, in rounds so short that some meet no other work on the machine."""
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(_ROUND_S / max(time.perf_counter() - start, 1e-7)))
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / repeats[name] * 1e6)
    return best


def bins_of(tables: ScoreTables, x: np.ndarray) -> np.ndarray:
    """Return the bins of rows x [n, F] float32."""
    return bin_features(tables.cuts, x)
