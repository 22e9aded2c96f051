"""Runs one kind of load against one server and notes what it cost and what was stored."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.serving import payloads
from tests.benchmarks.serving.cores import CorePlan
from tests.benchmarks.serving.generator import Load, LoadResult, read_ledger, run_load
from tests.benchmarks.serving.processes import WebServer, machine_cpu_seconds

WARMUP_S = 1.0
PROBE = "probe of "
# The probe only has to last for about a second; more would be written for nothing.
PROBE_TRANSACTIONS, PROBE_BATCHED = 30_000, 120_000
PROBE_WARMUP_S = 0.2
# How many more bodies than the probe's rate asks for: the server may still get faster.
HEADROOM = 1.6
# An overload is given up on where it finds no connection for as long as the server's deadline, DEADLINE_MS.
DEADLINE_MS = 100
TIMES_PEAK, AFTER_TIMES_PEAK, AFTER_S = 5.0, 0.3, 12.0
# As many requests may be at the server at once. It has to refuse some itself where that is more than it answers within its
# deadline; with fewer, the generator's connections are what holds the load back.
OVERLOAD_CONNECTIONS = 512
# Answers of any kind a second, in peaks, that bodies are written for.
MOST_ANSWERED = 3.0
# A second counts as recovered where nothing is refused and the 99th percentile is below this.
RECOVERED_MS = 20.0


@dataclass(frozen=True)
class Phase:
    """One kind of load: transactions in a request, connections, requests/s (0: closed loop) and the window, if not the usual.

    An overload's rate is a multiple of the closed loop's that was measured just before.
    """

    name: str
    batch: int = 1
    connections: int = 64
    rate_per_s: float = 0.0
    seconds: float | None = None
    is_overload: bool = False


@dataclass(frozen=True)
class Target:
    """A running server of one stack, its addresses for one and for many, and the file with its API key."""

    stack: str
    server: WebServer
    path: str
    batch_path: str | None
    headers: Path
    database_cpu_seconds: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True)
class Measurement:
    """One phase of one round.

    `cpu_us` is the server's CPU time a transaction, `database_cpu_us` that of PostgreSQL (0 for SQLite, which is the server's);
    `other_cores` the CPU that neither these nor the generator used meanwhile, in cores: much of it means that the machine was
    not ours alone. `promised` are the numbers of the requests that were acknowledged with a 2xx, warm-up included.
    """

    stack: str
    phase: Phase
    round: int
    prefix: str
    load: LoadResult
    cpu_us: float
    database_cpu_us: float
    other_cores: float
    is_probe: bool
    promised: tuple[int, ...]

    @property
    def per_s(self) -> float:
        """Transactions answered a second."""
        return self.load.rate_per_s * self.phase.batch

    @property
    def goodput_per_s(self) -> float:
        """Requests answered with 2xx a second."""
        return self.load.ok_in_window / self.load.window_s if self.load.window_s else 0.0


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

    def measure(self, target: Target, phase: Phase, round_number: int, peak_per_s: float | None = None) -> list[Measurement]:
        """Run the phase, a closed loop after a probe; return all that was run, the phase last.

        Args:
            peak_per_s: the closed loop's rate, which an overload is a multiple of.
        """
        if phase.is_overload:
            return [self._overload(target, phase, round_number, peak_per_s or 1.0)]
        seconds = phase.seconds or self._seconds
        if phase.rate_per_s:
            requests = int(1.1 * phase.rate_per_s * (seconds + WARMUP_S)) + 1_000
            return [self._run(target, phase, round_number, requests, seconds=seconds)]
        probe = Phase(PROBE + phase.name, phase.batch, phase.connections)
        most = (PROBE_TRANSACTIONS if phase.batch == 1 else PROBE_BATCHED) // phase.batch
        first = self._run(target, probe, round_number, most, seconds=1.0, warmup_s=PROBE_WARMUP_S)
        requests = int(max(first.load.rate_per_s, 1.0) * (seconds + WARMUP_S) * HEADROOM) + 200
        return [first, self._run(target, phase, round_number, requests, seconds=seconds)]

    def _overload(self, target: Target, phase: Phase, round_number: int, peak_per_s: float) -> Measurement:
        """Offer TIMES_PEAK times the peak, then AFTER_TIMES_PEAK of it until the server has recovered or AFTER_S is over."""
        seconds = phase.seconds or self._seconds
        requests = int(peak_per_s * (MOST_ANSWERED * (seconds + WARMUP_S) + AFTER_TIMES_PEAK * AFTER_S)) + 1_000
        overload = {
            "rate_per_s": TIMES_PEAK * peak_per_s,
            "then_rate_per_s": AFTER_TIMES_PEAK * peak_per_s,
            "then_seconds": AFTER_S,
            "abandon_ms": DEADLINE_MS,
            "windows": True,
        }
        return self._run(target, phase, round_number, requests, seconds=seconds, **overload)

    def _run(
        self,
        target: Target,
        phase: Phase,
        round_number: int,
        requests: int,
        *,
        seconds: float,
        warmup_s: float = WARMUP_S,
        **options: object,
    ) -> Measurement:
        path = target.path if phase.batch == 1 else target.batch_path
        if path is None:
            raise ValueError(f"{target.stack} takes no batches")
        self._runs += 1
        prefix = f"bench{self._runs}"
        file, ledger = self._bodies / f"{prefix}.txt", self._bodies / f"{prefix}.ledger"
        if phase.batch == 1:
            payloads.write_singles(file, self._population, count=requests, prefix=prefix, seed=self._runs)
        else:
            payloads.write_batches(file, self._population, count=requests, size=phase.batch, prefix=prefix, seed=self._runs)
        load = Load(
            **{
                "port": target.server.port,
                "path": path,
                "bodies": file,
                "seconds": seconds,
                "warmup_s": warmup_s,
                "connections": phase.connections,
                "rate_per_s": phase.rate_per_s,
                "headers": target.headers,
                "seed": self._runs,
                "ledger": ledger,
                "ledger_at_end": True,
            }
            | options
        )
        before = _CpuNow(target)
        result = run_load(self._program, load, cores=self._plan.generator)
        after = _CpuNow(target)
        promised = tuple(number for number, status in read_ledger(ledger) if 200 <= status <= 299)
        file.unlink()
        ledger.unlink()
        server, database, generator, machine = (b - a for a, b in zip(before.cpu_s, after.cpu_s, strict=True))
        transactions = max(result.acknowledged * phase.batch, 1)
        return Measurement(
            stack=target.stack,
            phase=phase,
            round=round_number,
            prefix=prefix,
            load=result,
            cpu_us=1e6 * server / transactions,
            database_cpu_us=1e6 * database / transactions,
            is_probe=phase.name.startswith(PROBE),
            other_cores=max(0.0, machine - server - database - generator) / (after.at - before.at),
            promised=promised,
        )


def recovery_s(load: LoadResult) -> float | None:
    """Return how long after the drop of the load the first good second ended that lay wholly after it; None: none did.

    Good: nothing was refused or lost, and the 99th percentile since the hand-over was below RECOVERED_MS.
    """
    for window in load.windows:
        is_good = window.ok and not window.other and not window.lost and window.service_p99_ms < RECOVERED_MS
        if is_good and window.to_s >= load.window_s + 1 - 1e-6:
            return round(window.to_s - load.window_s, 1)
    return None


class _CpuNow:
    """CPU seconds so far of the server, its database, the ended generators and the whole machine."""

    def __init__(self, target: Target) -> None:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.at = time.monotonic()
        own = target.server.cpu_seconds(), target.database_cpu_seconds()
        self.cpu_s = (*own, ended.ru_utime + ended.ru_stime, machine_cpu_seconds())
