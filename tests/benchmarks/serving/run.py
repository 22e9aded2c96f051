"""The driver of `make bench-serving`: our server and the plain stack in turn, each alone on the machine."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from tests.benchmarks.serving import environment, payloads, report
from tests.benchmarks.serving.cores import plan_cores
from tests.benchmarks.serving.generator import build_generator
from tests.benchmarks.serving.measure import OVERLOAD_CONNECTIONS, Bench
from tests.benchmarks.serving.plain_stack import forest
from tests.benchmarks.serving.report import (
    BATCH,
    BATCH_1000,
    DRF,
    FAST,
    OPEN_RATES,
    OVERLOAD,
    OVERLOADED,
    PLAIN,
    POSTGRES,
    SINGLE,
    SQLITE,
    Results,
    open_loop,
)
from tests.benchmarks.serving.session import Session, Stack
from tests.servers.postgres_server import PostgresServer

# The parts of the benchmark, for --only.
SINGLES, BATCHES, OPEN, OVERLOADS = "singles", "batches", "open", "overload"
PARTS = (SINGLES, BATCHES, OPEN, OVERLOADS, PLAIN)

# Measured window of each way to run gunicorn before the best is chosen.
TRIAL_S = 2.0
# Size of the plain forest in a run without ours, whose size it has otherwise.
PLAIN_FEATURES = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its report.

    Returns:
        0, or 1 if an acknowledged decision was not stored once, a process stayed behind or our closed loops had failures.
    """
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    _raise_file_limit()
    started = time.monotonic()
    with _temporary_directory(options.data_root) as root, _bodies_directory() as bodies, ExitStack() as servers:
        plan = plan_cores(pin=not options.no_pin)
        generator = build_generator(root)
        facts = environment.describe(root, plan.said)
        session = Session(root, plan)
        stacks: list[Stack] = []
        features, trees = PLAIN_FEATURES, forest.TREES
        for database in options.databases if options.only != {PLAIN} else ():
            postgres = _started_postgres(servers) if database == POSTGRES else None
            if postgres is not None:
                facts["PostgreSQL"] = _about(postgres)
            kinds, features, trees = session.prepare_ours(database, postgres)
            stacks += _with_loads(kinds, options)
        if PLAIN in options.only:
            plain = session.prepare_plain(features, trees, Bench(generator, plan, bodies, min(TRIAL_S, options.seconds)))
            stacks.append(plain)
        bench = Bench(generator, plan, bodies, options.seconds)
        measured = [
            m
            for number in range(1, options.rounds + 1)
            for stack in stacks
            if (turn := _loads_of_round(stack, number)).phases
            for m in session.run(turn, bench, number)
        ]
    facts |= {f"Stack: {stack.name}": stack.said for stack in stacks}
    facts["Run"] = (
        f"{options.rounds} rounds of the closed loops, windows of {options.seconds:g} s; open loop and overload once, "
        f"windows of {options.open_seconds:g} s; {time.monotonic() - started:.0f} s in all"
    )
    facts["Stored"] = (
        f"of {session.acknowledged:,} acknowledged transactions, probes and warm-up included, {session.lost:,} are not in the "
        f"database and {session.doubled:,} more than once (each looked up by its id)"
    )
    facts["Not measured here"] = "two engine processes with STATE_STORE=redis: python -m tests.benchmarks.shared_state"
    results = Results(m for m in measured if not m.is_probe)
    _print_report(facts, results, session.complaints)
    return 1 if session.complaints or results.closed_loop_failures() else 0


def _with_loads(kinds: dict[str, Stack], options: argparse.Namespace) -> list[Stack]:
    """Return the stacks that the chosen parts need, with their loads."""
    fast = [SINGLE] if SINGLES in options.only else []
    fast += [BATCH, BATCH_1000] if BATCHES in options.only else []
    fast += [open_loop(rate, options.open_seconds) for rate in OPEN_RATES.values()] if OPEN in options.only else []
    drf = [SINGLE] if SINGLES in options.only else []
    overloaded = replace(OVERLOAD, seconds=options.open_seconds, connections=options.overload_connections)
    # The peak is measured just before and just after, on the same server: a machine's own pace changes within minutes.
    overload = [SINGLE, overloaded, SINGLE] if OVERLOADS in options.only else []
    loads = {FAST: fast, DRF: drf, OVERLOADED: overload}
    return [kinds[kind].with_phases(*phases) for kind, phases in loads.items() if phases]


def _loads_of_round(stack: Stack, number: int) -> Stack:
    """Return the stack with its loads of that round: the long ones are in the first round only."""
    if number == 1:
        return stack
    if any(phase.is_overload for phase in stack.phases):
        return stack.with_phases()
    return stack.with_phases(*(phase for phase in stack.phases if not phase.rate_per_s))


def _started_postgres(servers: ExitStack) -> PostgresServer:
    postgres = PostgresServer(durable=True)
    servers.callback(postgres.close)
    postgres.start()
    return postgres


def _about(postgres: PostgresServer) -> str:
    names = ("server_version", "synchronous_commit", "fsync", "full_page_writes", "shared_buffers")
    with psycopg.connect(postgres.url) as connection:
        values = [connection.execute(f"SHOW {name}").fetchone()[0] for name in names]
    said = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
    return f"{said}; over loopback TCP; its processes are not pinned and share both cores"


def _raise_file_limit() -> None:
    """Let this process and what it starts open as many files as it may: each connection of the overload is one on both sides."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _print_report(facts: dict[str, str], results: Results, complaints: list[str]) -> None:
    tables = (
        report.environment_table(facts),
        report.results_table(results),
        report.rounds_table(results),
        report.overload_table(results),
        report.noise_note(results),
    )
    print("\n\n".join([*filter(None, tables), *(f"WRONG: {complaint}" for complaint in complaints)]))
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
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measured window (default 5)")
    parser.add_argument("--open-seconds", type=float, help="the same, open loop and overload (default 10, or --seconds if less)")
    parser.add_argument("--full", action="store_true", help="open loop and overload for 60 s each")
    parser.add_argument("--rounds", type=int, default=1, help="how often each closed loop has its turn (default 1)")
    parser.add_argument("--only", type=_names_of(PARTS), default=set(PARTS), help=f"some of {','.join(PARTS)} (default: all)")
    parser.add_argument(
        "--databases", type=_names_of((SQLITE, POSTGRES)), default=(SQLITE, POSTGRES), help="SQLite,PostgreSQL (default: both)"
    )
    parser.add_argument(
        "--overload-connections", type=int, default=OVERLOAD_CONNECTIONS,
        help=f"most requests at the server at once in the overload (default {OVERLOAD_CONNECTIONS})",
    )  # fmt: skip
    parser.add_argument("--no-pin", action="store_true", help="let server and generator share all cores")
    parser.add_argument("--data-root", type=Path, help="where the databases go: a directory on the disk to be measured")
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or options.rounds < 1 or (options.open_seconds is not None and options.open_seconds <= 0):
        parser.error("--seconds and --open-seconds must be above 0 and --rounds at least 1")
    if options.open_seconds is None:
        usual = 10.0 if options.seconds >= parser.get_default("seconds") else options.seconds
        options.open_seconds = 60.0 if options.full else usual
    options.databases = [name for name in (SQLITE, POSTGRES) if name in options.databases]
    return options


def _names_of(known: Sequence[str]) -> Callable[[str], set[str]]:
    def read(text: str) -> set[str]:
        names = set(text.split(","))
        if unknown := names - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return names

    return read
