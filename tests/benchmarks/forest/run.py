"""The driver of `make bench-forest`."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.forest import report
from tests.benchmarks.forest.case import MISSING_SHARE, ForestCase, Shape, train_case
from tests.benchmarks.forest.measure import Effort, measure_case
from tests.benchmarks.forest.ours import OURS, OURS_WITH_CONTRIBUTIONS, open_ours, open_ours_with_contributions
from tests.benchmarks.forest.peers import peers
from tests.benchmarks.side_by_side.driver import Document, Say, drive, parser
from tests.benchmarks.side_by_side.engines import Engine, open_engines
from tests.benchmarks.side_by_side.environment import CpuWatch, own_command, stamp
from tests.benchmarks.side_by_side.timing import clock_us

HEADLINE = Shape(500, 6, 64)
OTHERS = (Shape(100, 3, 30), Shape(2000, 6, 64))
GRID = (HEADLINE, *(
    shape for t in (100, 500, 2000) for d in (3, 6, 8) for f in (30, 64, 200) if (shape := Shape(t, d, f)) != HEADLINE
))  # fmt: skip
MISSING = (0.0, MISSING_SHARE)
ALL_SIZES = (16, 64, 256, 1024, 4096, 16_384, 100_000)
FULL = Effort(20_000, 6.0, MISSING, tuple((m, n) for m in MISSING for n in ALL_SIZES), (1, 2), rounds=9, round_seconds=3.0)
USUAL = Effort(
    20_000, 6.0, MISSING, (*((0.0, n) for n in ALL_SIZES), (MISSING_SHARE, 256), (MISSING_SHARE, 100_000)), (1, 2),
    rounds=9, round_seconds=1.0,
)  # fmt: skip
SHORT = Effort(20_000, 2.0, MISSING, ((0.0, 256), (0.0, 16_384), (MISSING_SHARE, 16_384)), (1, 2), rounds=5, round_seconds=0.4)
OUR_ENGINES = ((OURS, open_ours), (OURS_WITH_CONTRIBUTIONS, open_ours_with_contributions))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables, or print the tables of an earlier run.

    Returns:
        0; 1 if ours could not be measured or its margins differ from XGBoost's.
    """
    options = _parse(arguments)
    plan = [(shape, FULL) for shape in GRID] if options.full else [(HEADLINE, USUAL), *((s, SHORT) for s in OTHERS)]
    plan = [(shape, effort) for shape, effort in plan if options.only in (None, str(shape).replace(" ", ""))]

    def measure(say: Say) -> Document:
        return run_benchmark(plan, (*OUR_ENGINES, *peers(options.full)), say)

    return drive("forest", options, report, measure, _ours_is_right)


def run_benchmark(
    plan: Iterable[tuple[Shape, Effort]],
    openers: Sequence[tuple[str, Callable[[ForestCase], Engine]]],
    say: Callable[[str], None] = lambda text: None,
    training_rows: int | None = None,
) -> dict[str, Any]:
    """Measure every shape; the first one is the headline."""
    watch, began, cases = CpuWatch(), time.monotonic(), []
    document: dict[str, Any] = {"benchmark": "forest", "environment": stamp(own_command("tests.benchmarks.forest"))}
    document["clock_us"] = clock_us()
    for shape, effort in plan:
        with tempfile.TemporaryDirectory(prefix="bench-forest-") as folder:
            say(f"training {shape}")
            case = train_case(shape, Path(folder), **({"rows": training_rows} if training_rows else {}))
            lineup = open_engines(openers, case, say)
            cases.append(measure_case(case, lineup, effort, say))
    return {**document, "cases": cases, "other_cores": watch.other_cores(), "seconds": round(time.monotonic() - began)}


def _ours_is_right(document: dict[str, Any]) -> bool:
    """Whether ours was measured on every shape and never failed; margins that differ count as a failure."""
    return all(
        any(e["name"] == OURS for e in case["engines"]) and not any(f["name"].startswith(OURS) for f in case["failed"])
        for case in document["cases"]
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser("forest", __doc__)
    options.add_argument("--full", action="store_true", help="the whole grid, every peer on every shape (hours)")
    options.add_argument("--only", metavar="TxDxF", help="one shape of the plan, as 500x6x64")
    return options.parse_args(arguments)
