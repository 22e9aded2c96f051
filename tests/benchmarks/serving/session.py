"""The stacks under measurement: installed once, started from a copy for each turn, checked after each stop."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import psutil

from tests.benchmarks.serving import our_stack
from tests.benchmarks.serving.cores import CorePlan
from tests.benchmarks.serving.measure import DEADLINE_MS, Bench, Measurement, Phase, Target
from tests.benchmarks.serving.plain_stack import forest
from tests.benchmarks.serving.plain_stack import server as plain
from tests.benchmarks.serving.processes import WebServer, running
from tests.benchmarks.serving.report import DRF, FAST, OVERLOADED, PLAIN, SINGLE, named, open_loop
from tests.benchmarks.serving.storage import compare
from tests.servers.postgres_server import PostgresServer

# What a server of ours is started with, beside the defaults of docs/settings.md.
SETTINGS = {
    FAST: {"FAST_LANE": "true"},
    DRF: {"FAST_LANE": "false"},
    OVERLOADED: {"FAST_LANE": "true", "LIVE_DEADLINE_MS": str(DEADLINE_MS)},
}


class Installation(Protocol):
    """What both stacks have when they are ready to be started."""

    @property
    def directory(self) -> Path: ...

    @property
    def api_key(self) -> str: ...

    def copy(self, directory: Path) -> Installation: ...

    def remove(self) -> None: ...

    def stored_ids(self, prefix: str) -> list[str]: ...


@dataclass(frozen=True)
class Stack:
    """One server under measurement and the loads that it gets; `said` describes it in the report."""

    name: str
    installation: Installation
    make_server: Callable[[Installation], WebServer]
    path: str
    batch_path: str | None
    said: str
    phases: tuple[Phase, ...] = ()
    database_cpu_seconds: Callable[[], float] = field(default=lambda: 0.0)

    def with_phases(self, *phases: Phase) -> Stack:
        """Return the same stack with these loads."""
        return replace(self, phases=phases)


class Session:
    """Runs stacks below `root` and keeps what went wrong in `complaints`, what was compared in the counters."""

    def __init__(self, root: Path, plan: CorePlan) -> None:
        self._root = root
        self._plan = plan
        self._turns = 0
        self.complaints: list[str] = []
        self.acknowledged = self.lost = self.doubled = 0

    def prepare_ours(self, database: str, postgres: PostgresServer | None = None) -> tuple[dict[str, Stack], int, int]:
        """Return our stacks, one for each of SETTINGS, and the features and trees of their forest."""
        say(f"preparing our server on {database}")
        url = postgres.url if postgres is not None else None
        installation = our_stack.prepare_our_server(self._root / f"ours-{database}", postgres_url=url)
        features, trees = installation.forest_shape()

        def stack(kind: str, settings: dict[str, str]) -> Stack:
            given = ", ".join(f"{name}={value}" for name, value in settings.items())
            return Stack(
                name=named(kind, database),
                installation=installation,
                make_server=lambda copy: our_stack.our_server(copy, cores=self._plan.server, settings=settings),
                path=our_stack.PATH,
                batch_path=our_stack.BATCH_PATH,
                said=f"manage.py serve ({given}) on {database}; rules and a forest of {trees} trees on {features} features a row",
                database_cpu_seconds=(lambda: _tree_cpu_seconds(postgres.pid)) if postgres is not None else (lambda: 0.0),
            )

        return {kind: stack(kind, settings) for kind, settings in SETTINGS.items()}, features, trees

    def prepare_plain(self, features: int, trees: int, trial: Bench) -> Stack:
        """Return the plain stack with a forest of that size, under the quickest of the usual ways to run gunicorn."""
        say(f"preparing the plain stack ({trees} trees, {features} features)")
        installation = plain.prepare_plain(self._root / PLAIN, features=features, trees=trees)
        rates = {}
        for workers in _usual_workers(self._plan.server_count):
            stack = self._plain_stack(installation, workers, "").with_phases(SINGLE)
            rates[workers] = self.run(stack, trial, round_number=0)[-1].per_s
        best = max(rates, key=rates.__getitem__)
        tried = "; ".join(f"{workers}: {rate:.0f}/s" for workers, rate in rates.items())
        said = f"{trees} trees of depth {forest.DEPTH}, {features} features; SQLite; gunicorn {best}, the quickest of: {tried}"
        # Its latency at half of what it can do, where nothing is overloaded.
        easy = open_loop(max(10, round(rates[best] / 20) * 10))
        return self._plain_stack(installation, best, said).with_phases(SINGLE, easy)

    def run(self, stack: Stack, bench: Bench, round_number: int) -> list[Measurement]:
        """Start a copy of the stack, run its phases, stop it, and compare what it stored. Probes are in the result."""
        self._turns += 1
        installation = stack.installation.copy(self._root / f"turn-{self._turns}")
        # Otherwise the copy would reach the disk during the measurement.
        os.sync()
        headers = self._root / f"{re.sub('[^a-z0-9]+', '-', stack.name.lower())}-headers"
        headers.write_text(f"Authorization: Bearer {installation.api_key}\n")
        measured: list[Measurement] = []
        server = stack.make_server(installation)
        with running(server):
            target = Target(stack.name, server, stack.path, stack.batch_path, headers, stack.database_cpu_seconds)
            for phase in stack.phases:
                peak = measured[-1].goodput_per_s if measured else None
                measured += bench.measure(target, phase, round_number, peak)
                say(f"round {round_number}, {stack.name}, {phase.name}: {measured[-1].per_s:,.0f} tx/s")
        if server.left_over:
            self.complaints.append(f"{stack.name} left {len(server.left_over)} processes behind, which were killed")
        self._check_stored(installation, measured)
        installation.remove()
        # They were only needed for the check, and a run has millions of them.
        return [replace(m, promised=()) for m in measured]

    def _plain_stack(self, installation: Installation, workers: plain.GunicornWorkers, said: str) -> Stack:
        def make_server(copy: Installation) -> WebServer:
            return plain.plain_server(copy, workers, cores=self._plan.server)

        return Stack(PLAIN, installation, make_server, plain.PATH, None, said)

    def _check_stored(self, installation: Installation, measured: Sequence[Measurement]) -> None:
        for m in measured:
            if m.phase.is_overload and m.load.bodies_exhausted:
                self.complaints.append(f"{m.stack}, {m.phase.name}: there were too few bodies, so it ended early")
            found = compare(m.prefix, m.phase.batch, m.promised, installation.stored_ids(m.prefix))
            self.acknowledged += found.acknowledged
            self.lost += found.lost
            self.doubled += found.doubled
            if found.lost or found.doubled:
                self.complaints.append(
                    f"{m.stack}, {m.phase.name}: of {found.acknowledged} acknowledged {found.lost} are not in the database "
                    f"and {found.doubled} are there more than once"
                )


def say(text: str) -> None:
    """Tell whoever waits what is going on; stdout is for the report."""
    print(f"[bench-serving] {text}", file=sys.stderr, flush=True)


def _tree_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of its living children: PostgreSQL's backends are sessions of their own."""
    used = 0.0
    parent = psutil.Process(pid)
    for process in [parent, *parent.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used


def _usual_workers(cores: int) -> list[plain.GunicornWorkers]:
    return [
        plain.GunicornWorkers("sync", cores),
        plain.GunicornWorkers("sync", 2 * cores + 1),
        plain.GunicornWorkers("gthread", cores, 4),
        plain.GunicornWorkers("gthread", 2 * cores, 1),
    ]
