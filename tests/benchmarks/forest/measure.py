"""One shape measured: every engine on single rows and on batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tests.benchmarks.forest.case import ForestCase
from tests.benchmarks.side_by_side.engines import Lineup, Way
from tests.benchmarks.side_by_side.timing import latencies, rates, results_of

ROTATING_ROWS = 1000
CHECKED_ROWS = 5_000
CHECKED_MISSING = (0.0, 0.05)
# Beyond this an engine does not compute the same forest; the figures stand, and the report says so.
AGREES_WITHIN = 1e-3


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        calls: single-row calls an engine.
        call_seconds: after so long an engine's single-row calls end, however few.
        missing: shares of missing values in single rows.
        batches: (share of missing values, rows).
        threads: of the batches.
        rounds: of each batch.
        round_seconds: after so long an engine's rounds of a batch end, at least one.
    """

    calls: int
    call_seconds: float
    missing: tuple[float, ...]
    batches: tuple[tuple[float, int], ...]
    threads: tuple[int, ...]
    rounds: int
    round_seconds: float


def measure_case(case: ForestCase, lineup: Lineup, effort: Effort, say: Callable[[str], None]) -> dict[str, Any]:
    """Return all figures of a shape as plain JSON values."""
    differences = margin_differences(case, lineup)
    say(f"{case.shape}: single rows")
    one_row = [
        {"engine": name, "missing": share, **figures}
        for share in effort.missing
        for name, figures in _one_row(case, lineup, share, effort).items()
    ]
    batch = []
    for share, rows in effort.batches:
        say(f"{case.shape}: batches of {rows:,}, {share:.0%} missing")
        data = case.rows(rows, share, seed=2)
        for threads in effort.threads:
            timed = results_of(rates(lineup, data, threads, effort.rounds, effort.round_seconds))
            cell = {"missing": share, "rows": rows, "threads": threads}
            batch += [{"engine": name, **cell, **figures} for name, figures in timed.items()]
    return {
        **asdict(case.shape), "nodes": case.nodes, "train_s": round(case.train_s, 1), **lineup.to_json(),
        "max_margin_diff": differences, "one_row": one_row, "batch": batch,
    }  # fmt: skip


def margin_differences(case: ForestCase, lineup: Lineup) -> dict[str, float]:
    """Return engine -> largest absolute difference to XGBoost's margins in any of its settings.

    Engines with a forest of their own are left out. One that differs by more than AGREES_WITHIN is listed among the failures
    as well, and is still timed.
    """
    found: dict[str, float] = {}
    rows = [case.rows(CHECKED_ROWS, share, seed=3) for share in CHECKED_MISSING]
    sets = [(x, case.margins(x).astype(np.float64)) for x in rows]
    for name, engine in lineup.engines.items():
        if engine.own_model:
            continue
        for threads, ways in engine.ways.items():
            for way in ways:
                try:
                    engine.enter(threads)
                    difference = max(_difference(way, x, margins) for x, margins in sets)
                except Exception as error:
                    lineup.fail(name, f"margins, {way.setting}", error)
                    continue
                found[name] = max(found.get(name, 0.0), difference)
        if name in found and not found[name] <= AGREES_WITHIN:
            lineup.fail(name, "margins", f"differs from XGBoost's margins by {found[name]:.2g}")
    return found


def _difference(way: Way, x: np.ndarray, margins: np.ndarray) -> float:
    single = np.ravel(way.make(x[:1])())[0]
    return float(np.abs(np.ravel(way.make(x)()).astype(np.float64) - margins).max(initial=abs(float(single) - margins[0])))


def _one_row(case: ForestCase, lineup: Lineup, share: float, effort: Effort) -> dict[str, Any]:
    x = case.rows(ROTATING_ROWS, share)
    rows = [x[i : i + 1].copy() for i in range(len(x))]
    return results_of(latencies(lineup, rows, effort.calls, effort.call_seconds))
