"""Runs one kind of load against one server and notes what it cost and what was stored."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.serving import payloads
from tests.benchmarks.serving.cores import CorePlan
from tests.benchmarks.serving.generator import Load, LoadResult, run_load
from tests.benchmarks.serving.processes import WebServer, machine_cpu_seconds

WARMUP_S = 1.0
PROBE = "probe of "
# The probe only has to last for about a second; more would be written for nothing.
PROBE_TRANSACTIONS = 30_000
# How many more bodies than the probe's rate asks for: the server may still get faster.
HEADROOM = 1.6


@dataclass(frozen=True)
class Phase:
    """One kind of load: transactions in a request, connections, and requests/s (0: closed loop)."""

    name: str
    batch: int = 1
    connections: int = 64
    rate_per_s: float = 0.0


@dataclass(frozen=True)
class Target:
    """A running server of one stack, its addresses for one and for many, and the file with its API key."""

    stack: str
    server: WebServer
    path: str
    batch_path: str | None
    headers: Path


@dataclass(frozen=True)
class Measurement:
    """One phase of one round.

    `cpu_us` is the server's CPU time a transaction; `other_cores` the CPU that neither the server nor the generator used
    meanwhile, in cores: much of it means that the machine was not ours alone.
    """

    stack: str
    phase: Phase
    round: int
    prefix: str
    load: LoadResult
    cpu_us: float
    other_cores: float
    is_probe: bool

    @property
    def per_s(self) -> float:
        """Transactions answered a second."""
        return self.load.rate_per_s * self.phase.batch

    @property
    def promised(self) -> int:
        """Transactions that were acknowledged with a 2xx, warm-up included."""
        return (self.load.acknowledged - self.load.non_2xx) * self.phase.batch


class Bench:
    """The generator with its cores and bodies.

    Args:
        program: the built generator.
        bodies: directory for the files of bodies, each removed after its run.
        seconds: length of each measured window.
    """

    def __init__(self, program: Path, plan: CorePlan, bodies: Path, seconds: float) -> None:
        self._program = program
        self._plan = plan
        self._bodies = bodies
        self._seconds = seconds
        self._population = payloads.make_population()
        self._runs = 0

    def measure(self, target: Target, phase: Phase, round_number: int) -> list[Measurement]:
        """Warm up with a probe, then run the phase; return both, the probe first."""
        probe = Phase(PROBE + phase.name, phase.batch, phase.connections)
        first = self._run(target, probe, round_number, PROBE_TRANSACTIONS // phase.batch, seconds=1.0)
        per_s = phase.rate_per_s or max(first.load.rate_per_s, 1.0)
        requests = int(per_s * (self._seconds + WARMUP_S) * HEADROOM) + 200
        return [first, self._run(target, phase, round_number, requests, seconds=self._seconds)]

    def _run(self, target: Target, phase: Phase, round_number: int, requests: int, *, seconds: float) -> Measurement:
        path = target.path if phase.batch == 1 else target.batch_path
        if path is None:
            raise ValueError(f"{target.stack} takes no batches")
        self._runs += 1
        prefix = f"bench{self._runs}"
        file = self._bodies / f"{prefix}.txt"
        if phase.batch == 1:
            payloads.write_singles(file, self._population, count=requests, prefix=prefix, seed=self._runs)
        else:
            payloads.write_batches(file, self._population, count=requests, size=phase.batch, prefix=prefix, seed=self._runs)
        load = Load(
            port=target.server.port,
            path=path,
            bodies=file,
            seconds=seconds,
            warmup_s=WARMUP_S,
            connections=phase.connections,
            rate_per_s=phase.rate_per_s,
            headers=target.headers,
            seed=self._runs,
        )
        before = _CpuNow(target.server)
        result = run_load(self._program, load, cores=self._plan.generator)
        after = _CpuNow(target.server)
        file.unlink()
        server, generator, machine = (b - a for a, b in zip(before.cpu_s, after.cpu_s, strict=True))
        return Measurement(
            stack=target.stack,
            phase=phase,
            round=round_number,
            prefix=prefix,
            load=result,
            cpu_us=1e6 * server / max(result.acknowledged * phase.batch, 1),
            is_probe=phase.name.startswith(PROBE),
            other_cores=max(0.0, machine - server - generator) / (after.at - before.at),
        )


class _CpuNow:
    """CPU seconds so far of the server, the ended generators and the whole machine."""

    def __init__(self, server: WebServer) -> None:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.at = time.monotonic()
        self.cpu_s = (server.cpu_seconds(), ended.ru_utime + ended.ru_stime, machine_cpu_seconds())
