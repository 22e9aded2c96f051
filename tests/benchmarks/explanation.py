"""Exact contributions of one row, ours beside XGBoost's pred_contribs on the same forest, taking turns.

    python -m tests.benchmarks.explanation

The last line is JSON: times in microseconds for one row (from float32 to contributions, one thread), how far the two
answers differ, how far each is from adding up to the margin, and the environment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import xgboost

from inference_core import Calibration, FeatureColumn, FeatureSchema, Forest, RiskProgram, default_policy
from tests.benchmarks.side_by_side.environment import CpuWatch, noise_note, own_command, stamp
from tests.benchmarks.side_by_side.program import require_compiled_kernels

TREES, DEPTH, FEATURES = 500, 6, 64
TRAINING_ROWS, ROUNDS, COMPARED = 20_000, 200, 500


def trained() -> tuple[xgboost.Booster, np.ndarray]:
    """Return a forest of full trees, and rows with a tenth of the values missing."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(TRAINING_ROWS, FEATURES)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x[:, :20]).sum(axis=1) + 3 * rng.normal(size=len(x)) > 2
    parameters = {"objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.05, "min_child_weight": 0.01}
    return xgboost.train(parameters, xgboost.DMatrix(x, y.astype(int), feature_names=names()), TREES), x


def names() -> list[str]:
    return [f"f{i}" for i in range(FEATURES)]


def ours(booster: xgboost.Booster) -> RiskProgram:
    schema = FeatureSchema(tuple(FeatureColumn(name, "", name) for name in names()))
    forest = Forest.from_xgboost(bytes(booster.save_raw("ubj")), schema.names)
    return RiskProgram(schema, (), (), forest, Calibration.identity(), default_policy(), "benchmark")


def in_turns(calls: dict[str, Callable[[np.ndarray], Any]], x: np.ndarray) -> dict[str, dict[str, float]]:
    """Return p50 and p99 in microseconds of each call, one row at a time; the first rounds are not counted."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS + 10):
        row = x[number : number + 1]
        for name, call in calls.items():
            started = time.perf_counter()
            call(row)
            taken[name].append(1e6 * (time.perf_counter() - started))
    return {
        name: dict(zip(("p50_us", "p99_us"), np.percentile(times[10:], (50, 99)).round(1).tolist(), strict=True))
        for name, times in taken.items()
    }


def main() -> None:
    require_compiled_kernels()
    watch = CpuWatch()
    booster, x = trained()
    program = ours(booster)
    booster.set_param({"nthread": 1})
    calls = {
        "ours": lambda row: program.explain(row[0]),
        "xgboost": lambda row: booster.predict(xgboost.DMatrix(row, feature_names=names()), pred_contribs=True),
    }
    times = in_turns(calls, x)
    compared = xgboost.DMatrix(x[:COMPARED], feature_names=names())
    theirs = booster.predict(compared, pred_contribs=True).astype(float)
    margin = booster.predict(compared, output_margin=True).astype(float)
    found = [program.explain(row) for row in x[:COMPARED]]
    exact = np.array([of.contributions for of in found])
    print(noise_note(watch.other_cores()))
    print(
        json.dumps(
            {
                "explain_us": times["ours"]["p50_us"],
                "xgboost_pred_contribs_us": times["xgboost"]["p50_us"],
                "times": times,
                "nodes": len(program.plan.cover),
                "max_contribution_difference": float(np.abs(exact - theirs[:, :-1]).max()),
                "max_sum_difference": float(np.abs(np.array([of.margin for of in found]) - margin).max()),
                "xgboost_max_sum_difference": float(np.abs(theirs.sum(axis=1) - margin).max()),
                "environment": stamp(own_command("tests.benchmarks.explanation")),
            }
        )
    )


if __name__ == "__main__":
    main()
