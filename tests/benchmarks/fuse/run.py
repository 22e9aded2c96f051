"""python -m tests.benchmarks.fuse [--threads N] [--only NAME] [--out FILE]."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.benchmarks.fuse.functions import CASES
from tests.benchmarks.fuse.measure import Effort, measure_case
from tests.benchmarks.fuse.report import TOLERANCE, summary, table
from tests.benchmarks.side_by_side.environment import CpuWatch, noise_note, own_command, stamp


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and the last line; return 0 only if all results agree."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fuse")
    parser.add_argument("--threads", type=int, default=1, help="of one call, for all engines (default: 1)")
    parser.add_argument("--only", help="one function by name")
    parser.add_argument("--out", type=Path, help="where the whole result goes, as JSON")
    arguments = parser.parse_args(argv)
    document = run_benchmark(arguments.threads, arguments.only, Effort())
    print(table(document), document["note"], sep="\n")
    if arguments.out:
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(summary(document)))
    return 0 if summary(document)["max_diff"] <= TOLERANCE else 1


def run_benchmark(threads: int, only: str | None, effort: Effort) -> dict:
    """Return the whole result; only: one function's name, or None for all."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    watch = CpuWatch()
    try:
        cases = [measure_case(case, effort, _say) for case in CASES if only in (None, case.name)]
    finally:
        torch.set_num_threads(before)
    return {
        "threads": threads,
        "cases": cases,
        "environment": stamp(own_command("tests.benchmarks.fuse")),
        "torch": torch.__version__,
        "note": noise_note(watch.other_cores()),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
