"""Web servers that run on chosen CPU cores, and what they cost: for the benchmark and for the crash test."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil

from tests.benchmarks.serving.cores import pinned
from tests.servers.process import STOP_SECONDS, ServerProcess, free_port


class WebServer(ServerProcess):
    """An HTTP server on 127.0.0.1, in the foreground of its own session.

    It keeps its port over `kill` and `restart`. `stop` waits for the children as well.

    Args:
        name: starts the name of its directory, which holds its log.
        command: the command line; "{port}" in an argument is replaced by the port.
        environment: variables on top of those of this process; None takes one away.
        ready_path: answers 200 once the server takes requests.
        cores: CPU cores to run on; None leaves that to the kernel.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str | None],
        ready_path: str,
        cores: Sequence[int] | None = None,
    ) -> None:
        self.name = name
        super().__init__()
        self.port = free_port()
        self.left_over: list[int] = []
        self._ready_path = ready_path
        variables = [f"--unset={key}" for key, value in environment.items() if value is None]
        variables += [f"{key}={value}" for key, value in environment.items() if value is not None]
        arguments = [argument.replace("{port}", str(self.port)) for argument in command]
        # env and taskset replace themselves by the server: its pid is the one that we started.
        self._arguments = ["env", *variables, *pinned(arguments, cores)]

    def stop(self) -> None:
        """Shut down in order. Children that outlive their parent are killed and listed in `left_over`."""
        was_running = self.is_running
        super().stop()
        if not was_running:
            return
        _, alive = psutil.wait_procs(self._session(), timeout=STOP_SECONDS)
        self.left_over += [child.pid for child in alive]
        for child in alive:
            child.kill()

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, that the server and its living children have used so far."""
        used = [process.cpu_times() for process in self._session()]
        return sum(times.user + times.system for times in used)

    def log_text(self) -> str:
        """Return all that the server has printed."""
        return self.log_file.read_text(errors="replace")

    def _command(self) -> list[str]:
        return self._arguments

    def _session(self) -> list[psutil.Process]:
        """Return the server and all that it started, orphans too: each start makes a session of its own."""
        return [process for process in psutil.process_iter() if _session_of(process.pid) == self.pid]

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", self._ready_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


@contextmanager
def running(server: WebServer) -> Iterator[WebServer]:
    """Start `server` for the block; afterwards it is stopped and its directory removed, whatever happened.

    Raises:
        ServerUnavailable: it did not start; the message has the end of its log.
    """
    try:
        server.start()
        yield server
    finally:
        server.close()


def machine_cpu_seconds() -> float:
    """Return the CPU time that all processes of this machine have used since it started."""
    times = psutil.cpu_times()
    # Guest time is part of user time already.
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal
