"""Tables and the last line of `make bench-accuracy`."""

from __future__ import annotations

import json
import platform

import xgboost

from scoring.features.schema import current_schema
from tests.benchmarks.accuracy.protocol import Figures, deviation_of, mean_of
from tests.benchmarks.accuracy.published import PUBLISHED
from tests.benchmarks.accuracy.run import BenchmarkResult, Variant


def comparison_table(result: BenchmarkResult) -> str:
    """Return a Markdown table: the published models, then ours."""
    rows = ["| model | AUC ROC | AP | CP@100 |", "|---|---|---|---|"]
    rows += [f"| {name} (published) | {auc:.3f} | {ap:.3f} | {cp:.3f} |" for name, auc, ap, cp in PUBLISHED]
    rows.append(_own("this engine, 7 training days", result.week))
    rows.append(_own("this engine, all matured history", result.history))
    return "\n".join(rows)


def _own(name: str, variant: Variant) -> str:
    mean, deviation = mean_of(variant.figures), deviation_of(variant.figures)
    cells = (f"{getattr(mean, f):.3f} ± {getattr(deviation, f):.3f}" for f in ("auc", "ap", "cp100"))
    return f"| **{name}** | " + " | ".join(cells) + " |"


def folds_table(result: BenchmarkResult) -> str:
    """Return a Markdown table of each fold of both variants."""
    rows = [
        "| training week from day | test payments | frauds | training | rows | AUC ROC | AP | CP@100 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, variant in (("7 days", result.week), ("all history", result.history)):
        for i, (fold, of) in enumerate(zip(result.folds, variant.figures, strict=True)):
            counts = f"{fold.train_start} | {result.test_rows[i]:,} | {result.test_frauds[i]:,}"
            rows.append(f"| {counts} | {name} | {variant.training_rows[i]:,} | {of.auc:.4f} | {of.ap:.4f} | {of.cp100:.4f} |")
    return "\n".join(rows)


def facts(result: BenchmarkResult) -> str:
    """Return what the run cost and what it checked, a line each."""
    per_payment = result.streaming_seconds / result.streamed * 1e6
    gap = max(result.week.margin_gap, result.history.margin_gap)
    averaging = max(result.week.averaging_gap, result.history.averaging_gap)
    return "\n".join(
        (
            f"Streamed {result.streamed:,} payments through score_batch in {result.streaming_seconds:.1f} s "
            f"({per_payment:.1f} us each, features and program); window state {result.state_bytes / 1e6:.0f} MB.",
            f"Training took {result.week.training_seconds:.0f} s (7 days) and {result.history.training_seconds:.0f} s "
            "(all history).",
            f"Program against XGBoost on all test rows: margins differ by at most {gap:.1e}; "
            f"the served model against the mean of its boosters: {averaging:.1e}.",
        )
    )


def last_line(result: BenchmarkResult, seconds: float) -> str:
    """Return the JSON object that ends the output."""
    return json.dumps(
        {
            **_figures("7d", result.week),
            **_figures("all", result.history),
            "seconds": round(seconds, 1),
            "streaming_seconds": round(result.streaming_seconds, 1),
            "margin_gap": max(result.week.margin_gap, result.history.margin_gap),
            "test_payments": sum(result.test_rows),
            "test_frauds": sum(result.test_frauds),
            "features": current_schema().version,
            "xgboost": xgboost.__version__,
            "python": platform.python_version(),
        }
    )


def _figures(suffix: str, variant: Variant) -> dict[str, float]:
    def rounded(of: Figures, ending: str) -> dict[str, float]:
        return {f"{name}_{suffix}{ending}": round(getattr(of, name), 4) for name in ("ap", "cp100", "auc")}

    return rounded(mean_of(variant.figures), "") | rounded(deviation_of(variant.figures), "_std")
