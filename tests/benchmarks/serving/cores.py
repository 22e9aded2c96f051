"""Which CPU cores the server and the load generator run on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CorePlan:
    """The cores of each side; None where processes are left to the kernel, for the reason in `said`."""

    server: tuple[int, ...] | None
    generator: tuple[int, ...] | None
    said: str

    @property
    def server_count(self) -> int:
        """How many cores a server may use."""
        return len(self.server) if self.server is not None else os.cpu_count() or 1


def plan_cores(*, pin: bool = True) -> CorePlan:
    """Give the generator the last core and the server all others, so that neither takes the other's time."""
    if not pin:
        return CorePlan(None, None, "no pinning was asked for: server and generator share all cores")
    if shutil.which("taskset") is None:
        return CorePlan(None, None, "not pinned (no taskset here): server and generator share all cores")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return CorePlan(None, None, "not pinned (one core only): server and generator share it")
    server, generator = tuple(cores[:-1]), (cores[-1],)
    return CorePlan(server, generator, f"server on core {_listed(server)}, generator on core {_listed(generator)} (taskset)")


def pinned(command: Sequence[str], cores: Sequence[int] | None) -> list[str]:
    """Return `command` held to `cores`; the process keeps its pid, as taskset replaces itself by the command."""
    return list(command) if cores is None else ["taskset", "-c", _listed(cores), *command]


def _listed(cores: Sequence[int]) -> str:
    return ",".join(map(str, cores))
