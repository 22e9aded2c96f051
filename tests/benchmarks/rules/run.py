"""The driver of `make bench-rules`."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.forest.case import Shape, train_case
from tests.benchmarks.rules import report
from tests.benchmarks.rules.case import RulesCase, random_rules
from tests.benchmarks.rules.fused import FUSED, FUSED_ENGINES, FusedCase
from tests.benchmarks.rules.measure import Effort, measure_fused, measure_rules
from tests.benchmarks.rules.ours import OURS, open_ours
from tests.benchmarks.rules.peers import PEERS
from tests.benchmarks.side_by_side.driver import Document, Say, drive, parser
from tests.benchmarks.side_by_side.engines import open_engines
from tests.benchmarks.side_by_side.environment import CpuWatch, own_command, stamp
from tests.benchmarks.side_by_side.timing import clock_us

COUNTS = (10, 50, 250, 1000)
FUSED_FOREST = Shape(500, 6, 64)
FUSED_RULES = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables, or print the tables of an earlier run.

    Returns:
        0; 1 if ours could not be measured, or any engine's hits differ.
    """
    options = _parse(arguments)

    def measure(say: Say) -> Document:
        return run_benchmark(options.rules, None if options.no_fused else FUSED_FOREST, Effort(batch_rows=options.rows), say)

    return drive("rules", options, report, measure, lambda of: report.all_agree(of) and _ours_ran(of))


def run_benchmark(
    counts: Sequence[int],
    forest: Shape | None,
    effort: Effort,
    say: Callable[[str], None] = lambda text: None,
    training_rows: int | None = None,
) -> dict[str, Any]:
    """Measure each number of rules, then, where a forest is asked for, rules and forest together."""
    watch, began, cases, fused = CpuWatch(), time.monotonic(), [], None
    document: dict[str, Any] = {"benchmark": "rules", "environment": stamp(own_command("tests.benchmarks.rules"))}
    document["clock_us"] = clock_us()
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="bench-rules-") as folder:
            case = RulesCase(random_rules(count), Path(folder))
            cases.append(measure_rules(case, open_engines(((OURS, open_ours), *PEERS), case, say), effort, say))
    if forest is not None:
        with tempfile.TemporaryDirectory(prefix="bench-rules-") as folder:
            say(f"training {forest}")
            trained = train_case(forest, Path(folder), **({"rows": training_rows} if training_rows else {}))
            both = FusedCase(trained, RulesCase(random_rules(FUSED_RULES), Path(folder)))
            fused = measure_fused(both, open_engines(FUSED_ENGINES, both, say), effort, say)
    seconds = round(time.monotonic() - began)
    return {**document, "cases": cases, "fused": fused, "other_cores": watch.other_cores(), "seconds": seconds}


def _ours_ran(document: dict[str, Any]) -> bool:
    cases = [(case, OURS) for case in document["cases"]] + ([(document["fused"], FUSED)] if document["fused"] else [])
    return all(any(c["engine"] == name for c in case["one_event"]) for case, name in cases)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser("rules", __doc__)
    options.add_argument("--rules", type=int, nargs="+", default=COUNTS, help="numbers of rules (default 10 50 250 1000)")
    options.add_argument("--rows", type=int, default=1_000_000, help="rows of a batch (default 1,000,000)")
    options.add_argument("--no-fused", action="store_true", help="leave out rules and forest together")
    return options.parse_args(arguments)
