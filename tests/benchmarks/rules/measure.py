"""Rules measured: agreement first, then one event and a batch on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.rules.case import RulesCase, random_rows
from tests.benchmarks.rules.fused import FusedCase
from tests.benchmarks.side_by_side.engines import Engine, Lineup, Way
from tests.benchmarks.side_by_side.timing import latencies, rates, results_of

CHECKED_ROWS = 2000
CHECKED_EVENTS = 200
# Beyond this two engines do not compute the same forest.
MARGINS_AGREE_WITHIN = 1e-3


@dataclass(frozen=True)
class Effort:
    """How much is measured: single events and their most seconds an engine, rotating events, batch rows, rounds, seconds."""

    calls: int = 20_000
    call_seconds: float = 3.0
    events: int = 200
    batch_rows: int = 1_000_000
    rounds: int = 7
    round_seconds: float = 1.5


def measure_rules(case: RulesCase, lineup: Lineup, effort: Effort, say: Callable[[str], None]) -> dict[str, Any]:
    """Return agreement and all figures of a set of rules as plain JSON values."""
    say(f"{len(case.rules)} rules: agreement")
    checked = random_rows(CHECKED_ROWS, case.features, seed=3)
    agrees = {name: _agrees(case, engine, checked, lineup) for name, engine in lineup.engines.items()}
    say(f"{len(case.rules)} rules: one event")
    x = random_rows(effort.events, case.features, seed=4)
    rows = [np.ascontiguousarray(x[i : i + 1]) for i in range(len(x))]
    one_event = results_of(latencies(lineup, rows, effort.calls, effort.call_seconds))
    say(f"{len(case.rules)} rules: {effort.batch_rows:,} rows")
    data, batch = random_rows(effort.batch_rows, case.features), []
    for threads in (1, 2):
        timed = results_of(rates(lineup, data, threads, effort.rounds, effort.round_seconds))
        batch += [{"engine": name, "rows": effort.batch_rows, "threads": threads, **figures} for name, figures in timed.items()]
    return {
        "rules": len(case.rules), "conditions": len(case.rules[0]), "features": case.features, **lineup.to_json(),
        "agrees": agrees, "hits_per_row": round(float(case.hits(checked).sum(axis=1).mean()), 3),
        "one_event": [{"engine": name, **figures} for name, figures in one_event.items()], "batch": batch,
    }  # fmt: skip


def _agrees(case: RulesCase, engine: Engine, x: np.ndarray, lineup: Lineup) -> bool:
    """Whether every way of calling the engine gives NumPy's hits; whatever does not is named among the failures."""
    agrees, rows = True, x[: engine.most_rows]
    expected = case.hits(rows)
    for threads, ways in engine.ways.items():
        for way in ways:
            try:
                engine.enter(threads)
                difference = _difference(way, rows, expected)
            except Exception as error:
                lineup.fail(engine.name, f"hits, {way.setting}", error)
                agrees = False
                continue
            if difference:
                lineup.fail(engine.name, f"hits, {way.setting}", difference)
                agrees = False
    return agrees


def _difference(way: Way, x: np.ndarray, expected: np.ndarray) -> str:
    """Return how the hits of a way differ from the expected ones, empty where they do not; some engines only count."""
    found = way.read(way.make(x)())
    wanted = expected if found.ndim == 2 else expected.sum(axis=0)
    if found.shape != wanted.shape:
        return f"hits have the shape {found.shape}, not {wanted.shape}"
    wrong = int((found != wanted).sum())
    return f"{wrong} of {wanted.size} hits differ from NumPy's" if wrong else ""


def measure_fused(case: FusedCase, lineup: Lineup, effort: Effort, say: Callable[[str], None]) -> dict[str, Any]:
    """Return agreement and the latency of one event through rules and forest."""
    say("rules and forest: one event")
    rows = case.rows(max(effort.events, CHECKED_EVENTS))
    margins = case.forest.margins(np.concatenate(rows))
    hits = case.rules.hits(np.concatenate(rows))
    differences = {}
    for name, engine in lineup.engines.items():
        try:
            found = [engine.ways[1][0].read(engine.ways[1][0].make(row)()) for row in rows]
        except Exception as error:
            lineup.fail(name, "agreement", error)
            continue
        differences[name] = float(np.abs(np.array([m for m, _ in found]) - margins).max())
        if differences[name] > MARGINS_AGREE_WITHIN:
            lineup.fail(name, "margins", f"differs from XGBoost's margins by {differences[name]:.2g}")
        if wrong := int((np.array([h for _, h in found]) != hits).sum()):
            lineup.fail(name, "hits", f"{wrong} of {hits.size} hits differ from NumPy's")
    one_event = results_of(latencies(lineup, rows, effort.calls, effort.call_seconds))
    return {
        "rules": len(case.rules.rules), "forest": str(case.forest.shape), **lineup.to_json(), "max_margin_diff": differences,
        "one_event": [{"engine": name, **figures} for name, figures in one_event.items()],
    }  # fmt: skip
