"""The stacks under measurement: installed once, started from a copy for each round, checked after each stop."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.benchmarks.serving import our_stack
from tests.benchmarks.serving.cores import CorePlan
from tests.benchmarks.serving.measure import Bench, Measurement, Phase, Target
from tests.benchmarks.serving.plain_stack import forest
from tests.benchmarks.serving.plain_stack import server as plain
from tests.benchmarks.serving.processes import WebServer, running
from tests.benchmarks.serving.report import BATCH, OPEN_500, OPEN_1000, OURS, PLAIN, SINGLE, open_loop


class Installation(Protocol):
    """What both stacks have when they are ready to be started."""

    @property
    def directory(self) -> Path: ...

    @property
    def api_key(self) -> str: ...

    def copy(self, directory: Path) -> Installation: ...

    def stored(self, prefix: str) -> int: ...


@dataclass(frozen=True)
class Stack:
    """One side of the comparison and the loads that it gets; `said` describes it in the report."""

    name: str
    installation: Installation
    make_server: Callable[[Installation], WebServer]
    path: str
    batch_path: str | None
    phases: tuple[Phase, ...]
    said: str


class Session:
    """Runs stacks below `root` and keeps what went wrong in `complaints`."""

    def __init__(self, root: Path, plan: CorePlan) -> None:
        self._root = root
        self._plan = plan
        self._turns = 0
        self.complaints: list[str] = []

    def prepare_ours(self) -> tuple[Stack, int, int]:
        """Return our stack, and the features and trees of its forest."""
        say("preparing our server")
        installation = our_stack.prepare_our_server(self._root / OURS)
        features, trees = installation.forest_shape()
        stack = Stack(
            name=OURS,
            installation=installation,
            make_server=lambda copy: our_stack.our_server(copy, cores=self._plan.server),
            path=our_stack.PATH,
            batch_path=our_stack.BATCH_PATH,
            phases=(SINGLE, BATCH, OPEN_500, OPEN_1000),
            said=f"manage.py serve; {trees} trees, {features} features",
        )
        return stack, features, trees

    def prepare_plain(self, features: int, trees: int, trial: Bench) -> Stack:
        """Return the plain stack with a forest of that size, under the quickest of the usual ways to run gunicorn."""
        say(f"preparing the plain stack ({trees} trees, {features} features)")
        installation = plain.prepare_plain(self._root / PLAIN, features=features, trees=trees)
        rates = {}
        for workers in _usual_workers(self._plan.server_count):
            stack = self._plain_stack(installation, workers, (SINGLE,), "")
            rates[workers] = self.run(stack, trial, round_number=0)[-1].per_s
        best = max(rates, key=rates.__getitem__)
        tried = "; ".join(f"{workers}: {rate:.0f}/s" for workers, rate in rates.items())
        said = f"{trees} trees of depth {forest.DEPTH}, {features} features; gunicorn {best}, the quickest of: {tried}"
        # Its latency at half of what it can do, where nothing is overloaded.
        easy = open_loop(max(10, round(rates[best] / 20) * 10))
        return self._plain_stack(installation, best, (SINGLE, easy), said)

    def run(self, stack: Stack, bench: Bench, round_number: int) -> list[Measurement]:
        """Start a copy of the stack, run its phases, stop it, and count what it stored. Probes are in the result."""
        self._turns += 1
        installation = stack.installation.copy(self._root / f"turn-{self._turns}")
        # Otherwise the copy would reach the disk during the measurement.
        os.sync()
        headers = self._root / f"{stack.name}-headers"
        headers.write_text(f"Authorization: Bearer {installation.api_key}\n")
        measured: list[Measurement] = []
        server = stack.make_server(installation)
        with running(server):
            target = Target(stack.name, server, stack.path, stack.batch_path, headers)
            for phase in stack.phases:
                measured += bench.measure(target, phase, round_number)
                say(f"round {round_number}, {stack.name}, {phase.name}: {measured[-1].per_s:,.0f} tx/s")
        if server.left_over:
            self.complaints.append(f"{stack.name} left {len(server.left_over)} processes behind, which were killed")
        self._check_stored(installation, measured)
        shutil.rmtree(installation.directory)
        return measured

    def _plain_stack(
        self, installation: Installation, workers: plain.GunicornWorkers, phases: tuple[Phase, ...], said: str
    ) -> Stack:
        def make_server(copy: Installation) -> WebServer:
            return plain.plain_server(copy, workers, cores=self._plan.server)

        return Stack(PLAIN, installation, make_server, plain.PATH, None, phases, said)

    def _check_stored(self, installation: Installation, measured: Sequence[Measurement]) -> None:
        for m in measured:
            found, most = installation.stored(m.prefix), m.load.sent * m.phase.batch
            if not m.promised <= found <= most:
                self.complaints.append(
                    f"{m.stack}, {m.phase.name}: {m.promised} acknowledged, {most} sent, {found} in the database"
                )


def say(text: str) -> None:
    """Tell whoever waits what is going on; stdout is for the report."""
    print(f"[bench-serving] {text}", file=sys.stderr, flush=True)


def _usual_workers(cores: int) -> list[plain.GunicornWorkers]:
    return [
        plain.GunicornWorkers("sync", cores),
        plain.GunicornWorkers("sync", 2 * cores + 1),
        plain.GunicornWorkers("gthread", cores, 4),
        plain.GunicornWorkers("gthread", 2 * cores, 1),
    ]
