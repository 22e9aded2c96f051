"""What a reader must know about the machine and the run to place a figure."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import LIST, package_of, requirements

ROOT = Path(__file__).resolve().parents[3]
CPU_FEATURES = ("avx2", "avx512f", "avx512bw", "avx512vbmi", "avx512_vnni", "amx_int8")
# The kernel's own threads and an idle system stay below this.
QUIET_CORES = 0.2


class CpuWatch:
    """Says how many cores other processes used since it was made: on a busy machine no figure is worth much."""

    def __init__(self) -> None:
        self._started = self._times()

    def other_cores(self) -> float | None:
        """Return cores used by others, on average; None where the system does not tell (no /proc/stat)."""
        before, now = self._started, self._times()
        if before is None or now is None or now[0] <= before[0]:
            return None
        elapsed, busy, own = (b - a for a, b in zip(before, now, strict=True))
        return round(max(0.0, (busy - own) / elapsed), 3)

    @staticmethod
    def _times() -> tuple[float, float, float] | None:
        try:
            fields = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        except (OSError, IndexError, ValueError):
            return None
        # user nice system idle iowait irq softirq steal ...; guest time is already in user
        busy = (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, sum(os.times()[:4])


def stamp(command: Sequence[str]) -> dict[str, Any]:
    """Return machine, system, packages, commit, date and command."""
    return {
        "cpu": _cpu_field("model name") or platform.machine(),
        "cores": os.cpu_count(),
        "cpu_features": [name for name in CPU_FEATURES if name in _cpu_field("flags").split()],
        "memory_gib": _memory_gib(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": _packages(),
        "compiler": _first_line(["gcc", "--version"]),
        "commit": _first_line(["git", "describe", "--always", "--dirty"]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(command),
    }


def noise_note(other_cores: float | None) -> str:
    """Return what a reader must know about other work on the machine during the run."""
    if other_cores is None:
        return "How busy other processes kept the machine is not known here."
    if other_cores < QUIET_CORES:
        return f"Other processes used {other_cores:.2f} cores on average."
    return f"NOISY RUN: other processes used {other_cores:.2f} cores on average; repeat it on a quiet machine before quoting it."


def _cpu_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), "")


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _packages() -> dict[str, str]:
    found = {}
    for name in sorted(package_of(one) for one in requirements(LIST.read_text())):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not found"
    return done.stdout.splitlines()[0].strip() if done.stdout else "not found"


def own_command(module: str) -> list[str]:
    return ["python", "-m", module, *sys.argv[1:]]
