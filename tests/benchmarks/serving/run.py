"""The driver of `make bench-serving`: our server and the plain stack in turn, each alone on the machine."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.serving import environment, payloads, report
from tests.benchmarks.serving.cores import plan_cores
from tests.benchmarks.serving.generator import build_generator
from tests.benchmarks.serving.measure import Bench
from tests.benchmarks.serving.plain_stack import forest
from tests.benchmarks.serving.report import OURS, PLAIN, Results
from tests.benchmarks.serving.session import Session

# Measured window of each way to run gunicorn before the best is chosen.
TRIAL_S = 2.0
# Size of the plain forest in a run without ours, whose size it has otherwise.
PLAIN_FEATURES = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its report.

    Returns:
        0, or 1 if an acknowledged decision was not stored, a process stayed behind or our closed loops had failures.
    """
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    started = time.monotonic()
    with _temporary_directory(options.data_root) as root, _bodies_directory() as bodies:
        plan = plan_cores(pin=not options.no_pin)
        generator = build_generator(root)
        facts = environment.describe(root, plan.said)
        session = Session(root, plan)
        stacks = []
        features, trees = PLAIN_FEATURES, forest.TREES
        if options.stack != PLAIN:
            ours, features, trees = session.prepare_ours()
            stacks.append(ours)
        if options.stack != OURS:
            stacks.append(session.prepare_plain(features, trees, Bench(generator, plan, bodies, TRIAL_S)))
        bench = Bench(generator, plan, bodies, options.seconds)
        measured = [m for number in range(options.rounds) for stack in stacks for m in session.run(stack, bench, number + 1)]
    facts |= {f"Stack: {stack.name}": stack.said for stack in stacks}
    facts["Run"] = f"{options.rounds} rounds, windows of {options.seconds:g} s, {time.monotonic() - started:.0f} s in all"
    results = Results(m for m in measured if not m.is_probe)
    _print_report(facts, results, session.complaints)
    return 1 if session.complaints or results.closed_loop_failures(OURS) else 0


def _print_report(facts: dict[str, str], results: Results, complaints: list[str]) -> None:
    tables = (
        report.environment_table(facts),
        report.results_table(results),
        report.rounds_table(results),
        report.noise_note(results),
    )
    print("\n\n".join([*tables, *(f"WRONG: {complaint}" for complaint in complaints)]))
    print(f"\n{json.dumps(report.summary(results, is_stored=not complaints))}", flush=True)


@contextmanager
def _temporary_directory(data_root: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-serving-", dir=data_root) as directory:
        yield Path(directory)


@contextmanager
def _bodies_directory() -> Iterator[Path]:
    directory = payloads.bodies_directory()
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each measured window (default 6)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each stack has its turn (default 2)")
    parser.add_argument("--stack", choices=("both", OURS, PLAIN), default="both")
    parser.add_argument("--no-pin", action="store_true", help="let server and generator share all cores")
    parser.add_argument("--data-root", type=Path, help="where the databases go: a directory on the disk to be measured")
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or options.rounds < 1:
        parser.error("--seconds must be above 0 and --rounds at least 1")
    return options
