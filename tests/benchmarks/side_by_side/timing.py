"""Interleaved timing: A B C A B C ..., so that other work on the machine meets all engines alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.benchmarks.side_by_side.engines import Call, Engine, Lineup, Way

BLOCK = 500
WARM_UP = 20
# Thread pools (OpenMP, ONNX Runtime) spin for some milliseconds after their work; the next engine must not pay for that.
SETTLE_S = 0.01
# A round of a short call repeats it until this has passed, so that the clock does not matter.
LEAST_ROUND_S = 0.005
# Where a whole batch would take longer than this, its first rows decide which way of calling an engine is its fastest.
LONG_TRIAL_S = 0.3
TRIAL_ROWS = 4096


@dataclass
class Latencies:
    """Times of single calls, nanoseconds."""

    setting: str
    calls: Sequence[Call]
    threads: int
    enter: Callable[[int], None]
    ns: list[np.ndarray] = field(default_factory=list)
    spent_s: float = 0.0

    def percentiles(self) -> dict[str, Any]:
        blocks = [float(np.median(block)) / 1e3 for block in self.ns]
        return {"setting": self.setting, **percentiles_us(np.concatenate(self.ns)), "best_block_us": _digits(min(blocks))}


@dataclass
class Rates:
    """Rounds of calls on one batch, rows a second."""

    setting: str
    call: Call
    rows: int
    repeat: int
    threads: int
    enter: Callable[[int], None]
    rounds: list[float] = field(default_factory=list)
    spent_s: float = 0.0

    def summary(self) -> dict[str, Any]:
        return {"setting": self.setting, "rows_timed": self.rows, **rate_summary(self.rounds)}


def percentiles_us(ns: np.ndarray) -> dict[str, Any]:
    """Return p50, p99 and p99.9 in microseconds, with the number of calls."""
    p50, p99, p999 = np.percentile(ns, [50, 99, 99.9]) / 1e3
    return {"calls": len(ns), "p50_us": _digits(p50), "p99_us": _digits(p99), "p999_us": _digits(p999)}


def rate_summary(rounds: Sequence[float]) -> dict[str, Any]:
    """Return median and best of the rounds, in rows a second."""
    return {"rounds": len(rounds), "median_rows_per_s": round(float(np.median(rounds))), "best_rows_per_s": round(max(rounds))}


def fastest_way(ways: Sequence[Way], data: Any, tries: int = 3) -> tuple[Way, Call, float]:
    """Return the way with the shortest call on the data, its call and that time in seconds.

    Raises:
        Exception: of the last way, where none works.
    """
    best, last_error = None, None
    for way in ways:
        try:
            call = way.make(data)
            took = _shortest(call, tries)
        except Exception as error:  # another way may work; where none does, the error is raised below
            last_error = error
            continue
        if best is None or took < best[2]:
            best = (way, call, took)
    if best is None:
        raise last_error or ValueError("an engine needs at least one way")
    return best


def latencies(
    lineup: Lineup, rows: Sequence[Any], calls: int, seconds: float, threads: int = 1
) -> dict[str, Latencies]:
    """Time calls with rotating rows on every engine until each has its `calls`, or has used its `seconds`."""
    timed: dict[str, Latencies] = {}
    for engine in lineup.engines.values():
        with _reported(lineup, engine, "one row"):
            timed[engine.name] = _prepare_rows(engine, rows, threads)
    for number in range(-(-calls // BLOCK)):
        for name, one in list(timed.items()):
            if one.spent_s >= seconds:
                continue
            try:
                _time_block(one, number * BLOCK, min(BLOCK, calls - number * BLOCK), seconds)
            except Exception as error:
                lineup.fail(name, "one row", error)
                del timed[name]
    return timed


def rates(lineup: Lineup, data: Any, threads: int, rounds: int, seconds: float) -> dict[str, Rates]:
    """Time one batch on every engine in rounds; one that has used its `seconds` stops after one round at least."""
    timed: dict[str, Rates] = {}
    stage = f"{len(data)} rows, {threads} threads"
    for engine in lineup.engines.values():
        if threads not in engine.ways:
            continue
        with _reported(lineup, engine, stage):
            engine.enter(threads)
            own = data[: engine.most_rows]
            way, call, took = _way_for_batch(engine.ways[threads], own)
            repeat = max(1, int(np.ceil(LEAST_ROUND_S / took)))
            timed[engine.name] = Rates(way.setting, call, len(own), repeat, threads, engine.enter)
    for number in range(rounds):
        for name, one in list(timed.items()):
            if number and one.spent_s >= seconds:
                continue
            try:
                _time_round(one)
            except Exception as error:
                lineup.fail(name, stage, error)
                del timed[name]
    return timed


def clock_us(calls: int = 10_000) -> float:
    """Return the median time of a call that does nothing: the part of every latency that is the harness's own."""
    empty = Latencies("", [lambda: None], 1, lambda threads: None)
    _time_block(empty, 0, calls, float("inf"))
    return _digits(float(np.median(empty.ns[0])) / 1e3)


def _way_for_batch(ways: Sequence[Way], data: Any) -> tuple[Way, Call, float]:
    """Return the fastest way on the batch, its call and about how long that takes."""
    way, call, took = fastest_way(ways, data[:TRIAL_ROWS])
    if len(data) <= TRIAL_ROWS:
        return way, call, took
    took *= len(data) / TRIAL_ROWS
    return fastest_way(ways, data) if took <= LONG_TRIAL_S else (way, way.make(data), took)


def _prepare_rows(engine: Engine, rows: Sequence[Any], threads: int) -> Latencies:
    if threads not in engine.ways:  # its thread pool cannot be made that small
        threads = min(engine.ways)
    engine.enter(threads)
    way, _, _ = fastest_way(engine.ways[threads], rows[0], tries=200)
    return Latencies(way.setting, [way.make(row) for row in rows], threads, engine.enter)


def _time_block(one: Latencies, start: int, count: int, seconds: float) -> None:
    """Time `count` calls, fewer where the budget ends within the block."""
    one.enter(one.threads)
    time.sleep(SETTLE_S)
    calls, clock, took = one.calls, time.perf_counter_ns, []
    with _quiet():
        began_block = clock()
        for i in range(WARM_UP):
            calls[(start + i) % len(calls)]()
        for i in range(start, start + count):
            call = calls[i % len(calls)]
            began = clock()
            call()
            ended = clock()
            took.append(ended - began)
            if one.spent_s + (ended - began_block) / 1e9 > seconds:
                break
        one.spent_s += (clock() - began_block) / 1e9
    one.ns.append(np.array(took, np.int64))


def _time_round(one: Rates) -> None:
    one.enter(one.threads)
    time.sleep(SETTLE_S)
    with _quiet():
        if one.repeat > 1:
            one.call()  # wakes the thread pool and the caches; a long call does that itself
        began = time.perf_counter()
        for _ in range(one.repeat):
            one.call()
        took = time.perf_counter() - began
    one.spent_s += took
    one.rounds.append(one.rows * one.repeat / took)


def _shortest(call: Call, tries: int) -> float:
    """Return the shortest of some calls, in seconds; few of them where they are long."""
    best, spent = float("inf"), 0.0
    for number in range(tries + 1):
        began = time.perf_counter()
        call()
        took = time.perf_counter() - began
        spent += took
        # The first call also allocates and starts threads; it counts only where a second would take long.
        best = min(best, took) if number or took > 0.1 else best
        if spent > 0.1 and best < float("inf"):
            break
    return best


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Python's collector of reference cycles out of what is timed, for all engines alike."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _reported(lineup: Lineup, engine: Engine, stage: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a peer's error is a result, not the end of the run
        lineup.fail(engine.name, stage, error)


def _digits(value: float) -> float:
    return round(float(value), 3)


def results_of(timed: Mapping[str, Latencies | Rates]) -> dict[str, dict[str, Any]]:
    """Return engine -> figures of what was timed at least once."""
    return {
        name: one.percentiles() if isinstance(one, Latencies) else one.summary()
        for name, one in timed.items()
        if (one.ns if isinstance(one, Latencies) else one.rounds)
    }
