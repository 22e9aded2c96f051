"""What the benchmarks' commands share: options for the output, progress, and the last line."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.side_by_side.engines import LeftOut
from tests.benchmarks.side_by_side.environment import ROOT
from tests.benchmarks.side_by_side.program import require_compiled_kernels

Say = Callable[[str], None]
Document = dict[str, Any]


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark, for `python -m tests.benchmarks.<name>`."""
    output = ROOT / "docs" / "benchmarks" / f"{name}.json"
    found = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{name}", description=description)
    found.add_argument("--json", type=Path, default=output, help=f"where the figures go (default {output.relative_to(ROOT)})")
    found.add_argument("--table", type=Path, metavar="JSON", help="print the tables of an earlier run, and measure nothing")
    return found


def drive(name: str, options: argparse.Namespace, report, measure: Callable[[Say], Document], is_right: Callable[[Document], bool]) -> int:  # noqa: E501
    """Measure and print the tables, or print the tables of an earlier run; the last line is the summary as JSON.

    Args:
        report: has markdown(document) and summary(document).

    Returns:
        0; 1 if nothing could be measured, or the document is not right.
    """
    if options.table:
        print(report.markdown(json.loads(options.table.read_text())))
        return 0
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    try:
        require_compiled_kernels()
    except LeftOut as reason:
        print(f"bench-{name}: {reason}", file=sys.stderr)
        return 1
    document = measure(say)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n")
    print(report.markdown(document))
    print(f"\n{json.dumps(report.summary(document))}", flush=True)
    return 0 if is_right(document) else 1
