"""Builds and runs the C load generator in `loadgen/`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from tests.benchmarks.serving.cores import pinned

SOURCE = Path(__file__).parent / "loadgen" / "loadgen.c"
COMPILERS = ("cc", "gcc", "clang")


class LoadGeneratorError(RuntimeError):
    """The load generator cannot be built, refused its options or broke off; the message has its own words."""


@dataclass(frozen=True)
class Load:
    """What to send to one path of a loopback server.

    `rate_per_s` 0 is the closed loop: each connection sends again as soon as it has its answer. Above 0 it is the
    open loop, in which requests are due at that rate whatever the server does, and latency counts from then. The measured
    window may be followed by `then_seconds` at another rate, and a request that finds no connection for `abandon_ms` is given
    up. `windows` asks for the course of the run as well; `ledger_at_end` writes the ledger once and without a sync.
    """

    port: int
    path: str
    bodies: Path
    seconds: float
    connections: int = 64
    rate_per_s: float = 0.0
    arrivals: str = "poisson"
    seed: int = 1
    warmup_s: float = 0.0
    timeout_s: float = 10.0
    reconnect_s: float = 1.0
    requests: int = 0
    repeat: bool = False
    framed: bool = False
    host: str = "127.0.0.1"
    method: str = "POST"
    content_type: str = "application/json"
    headers: Path | None = None
    ledger: Path | None = None
    ledger_at_end: bool = False
    then_rate_per_s: float = 0.0
    then_seconds: float = 0.0
    abandon_ms: float = 0.0
    windows: bool = False

    def arguments(self) -> list[str]:
        """Return the generator's command line without its name."""
        options: dict[str, object] = {
            "host": self.host, "port": self.port, "path": self.path, "bodies": self.bodies, "seconds": self.seconds,
            "connections": self.connections, "rate": self.rate_per_s, "arrivals": self.arrivals, "seed": self.seed,
            "warmup": self.warmup_s, "timeout": self.timeout_s, "reconnect": self.reconnect_s, "requests": self.requests,
            "method": self.method, "content-type": self.content_type, "headers": self.headers, "ledger": self.ledger,
            "then-rate": self.then_rate_per_s, "then-seconds": self.then_seconds, "abandon-ms": self.abandon_ms,
            "body-format": "framed" if self.framed else "lines",
        }  # fmt: skip
        given = [f"--{name}={value}" for name, value in options.items() if value is not None]
        flags = {"--repeat": self.repeat, "--windows": self.windows, "--ledger-at-end": self.ledger_at_end}
        return given + [name for name, is_on in flags.items() if is_on]


@dataclass(frozen=True)
class Latency:
    """Milliseconds; a request that was never answered counts with the time it had waited when the run ended."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float


@dataclass(frozen=True)
class Window:
    """One second that ended `to_s` after the warm-up: answers with 2xx, other answers, requests that got none, and the 2xx'
    99th percentiles, milliseconds, since the hand-over to a connection and since the request was due (0 where there was none).
    """

    to_s: float
    ok: int
    other: int
    lost: int
    service_p99_ms: float
    p99_ms: float


@dataclass(frozen=True)
class LoadResult:
    """What the generator measured.

    `sent`, `acknowledged` (answers read in full, of any status) and `statuses` cover the whole run, warm-up included;
    `rate_per_s` and the latencies cover the measured window. `send_delay_ms` is the part of the latency between the
    moment a request was due and its hand-over to a free connection. Of the requests that were due in the window,
    `ok_latency_ms` has those answered with 2xx; `ok_service_ms` and `refused_service_ms` count from the hand-over, of those with
    2xx and with any other answer.
    """

    mode: str
    connections: int
    offered_per_s: float
    window_s: float
    rate_per_s: float
    sent: int
    acknowledged: int
    in_window: int
    statuses: dict[str, int]
    non_2xx: int
    connect_errors: int
    disconnects: int
    timeouts: int
    malformed: int
    unfinished: int
    unsent: int
    abandoned: int
    ok_in_window: int
    bodies_exhausted: bool
    interrupted: bool
    gave_up: bool
    latency_ms: Latency | None
    send_delay_ms: Latency | None
    ok_latency_ms: Latency | None
    ok_service_ms: Latency | None
    refused_service_ms: Latency | None
    windows: tuple[Window, ...]

    @property
    def failures(self) -> int:
        """Requests without a good answer, and connects that failed."""
        lost = self.disconnects + self.timeouts + self.malformed + self.unfinished + self.unsent + self.abandoned
        return self.non_2xx + self.connect_errors + lost

    @property
    def is_sustained(self) -> bool:
        """Whether the window's answers kept up with the window's arrivals, which `latency_ms` counts all of."""
        due = self.latency_ms.count if self.latency_ms is not None else 0
        return self.failures == 0 and self.in_window >= 0.98 * due > 0

    @classmethod
    def from_json(cls, text: str) -> LoadResult:
        """Read the generator's own report."""
        values = json.loads(text)
        for name in ("latency_ms", "send_delay_ms", "ok_latency_ms", "ok_service_ms", "refused_service_ms"):
            values[name] = None if values[name] is None else Latency(**values[name])
        values["windows"] = tuple(Window(**window) for window in values["windows"])
        return cls(**{field.name: values[field.name] for field in fields(cls)})


def find_compiler() -> str | None:
    """Return the path of a C compiler, or None."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def build_generator(directory: Path) -> Path:
    """Compile the generator into `directory` and return the program.

    Raises:
        LoadGeneratorError: there is no C compiler, or it refuses the source.
    """
    compiler = find_compiler()
    if compiler is None:
        raise LoadGeneratorError(f"no C compiler ({', '.join(COMPILERS)}) on PATH")
    program = directory / "loadgen"
    command = [compiler, "-O2", "-Wall", "-Wextra", str(SOURCE), "-o", str(program), "-lm"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        raise LoadGeneratorError(f"the compiler failed:\n{built.stderr}")
    return program


class RunningLoad:
    """A load that was started and runs beside the caller."""

    def __init__(self, program: Path, load: Load, cores: Sequence[int] | None) -> None:
        command = pinned([str(program), *load.arguments()], cores)
        # Its own session: Ctrl-C reaches the driver alone, which then ends the load in order.
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """The process id of the generator."""
        return self._process.pid

    def interrupt(self) -> None:
        """Send nothing new; answers on their way are still read."""
        self._process.send_signal(signal.SIGINT)

    def result(self) -> LoadResult:
        """Wait for the end and return what was measured.

        Raises:
            LoadGeneratorError: the generator refused its options or ended without a report.
        """
        report, complaints = self._process.communicate()
        if self._process.returncode:
            raise LoadGeneratorError(complaints.strip() or f"it ended with {self._process.returncode}")
        if complaints:
            print(complaints.strip())
        return LoadResult.from_json(report)

    def close(self) -> None:
        """End the generator if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def load_running(program: Path, load: Load, *, cores: Sequence[int] | None = None) -> Iterator[RunningLoad]:
    """Run `load` beside the block, which may wait for `.result()`; it never outlives the block."""
    running = RunningLoad(program, load, cores)
    try:
        yield running
    finally:
        running.close()


def run_load(program: Path, load: Load, *, cores: Sequence[int] | None = None) -> LoadResult:
    """Run `load` to its end on the given CPU cores (None: any) and return what was measured.

    Raises:
        LoadGeneratorError: the generator refused its options or ended without a report.
    """
    with load_running(program, load, cores=cores) as running:
        return running.result()


def read_ledger(path: Path) -> list[tuple[int, int]]:
    """Return (ordinal of the body, status) of every acknowledged request; a torn last record does not count."""
    records = path.read_text().split("\n")[:-1]
    return [(int(ordinal), int(status)) for ordinal, status in (record.split(" ") for record in records)]
