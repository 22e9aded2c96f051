"""The life of one server process that a test run owns."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

import psutil

START_SECONDS = 30.0
STOP_SECONDS = 15.0
# Linux cuts the path of a Unix socket at 108 bytes; leave room for a file name below the directory.
LONGEST_DIRECTORY = 80


class ServerUnavailable(RuntimeError):
    """A server that the tests need is not installed or does not start."""


class ServerProcess(ABC):
    """One server in its own temporary directory; `close` stops it and removes the directory."""

    name: str
    stop_signal: signal.Signals = signal.SIGTERM

    def __init__(self) -> None:
        self.directory = short_directory(f"riskapp-{self.name}-")
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command line of the server, in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether the server answers a request now."""

    def _user(self) -> tuple[int, int] | None:
        """Return (uid, gid) to run as, or None for the user of the tests."""
        return None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return when it answers.

        Raises:
            ServerUnavailable: it ended or stayed silent for START_SECONDS; the message has the end of its log.
        """
        self._process = self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                raise ServerUnavailable(f"{self.name} ended with {self._process.returncode}:\n{self.log_end()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerUnavailable(f"{self.name} did not answer in {START_SECONDS:g} s:\n{self.log_end()}")
            time.sleep(0.02)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server and return at once; for a supervisor that looks after the process itself."""
        uid, gid = self._user() or (None, None)
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                self._command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
                # Ctrl-C in the terminal goes to the tests, which then stop the server themselves.
                start_new_session=True,
            )

    def answers(self) -> bool:
        """Return whether the server answers a request now."""
        return self._answers()

    def stop(self) -> None:
        """Shut the server down in order; kill it where that takes longer than STOP_SECONDS."""
        if not self.is_running:
            return
        process = self._running()
        process.send_signal(self.stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server and its children at once with SIGKILL, as a crash would."""
        process = self._running()
        children = psutil.Process(process.pid).children(recursive=True)
        # The parent first: it would otherwise notice a dead child and start to recover.
        process.kill()
        process.wait(STOP_SECONDS)
        for child in children:
            # Some children notice by themselves that their parent is gone.
            if child.is_running():
                child.kill()
        psutil.wait_procs(children, timeout=STOP_SECONDS)

    def restart(self) -> None:
        """Start again on the same address and files, after `stop` first where it still runs."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def log_file(self) -> Path:
        return self.directory / "server.log"

    def log_end(self) -> str:
        """Return the last lines that the server has printed."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerUnavailable(f"{self.name} was not started")
        return self._process


def short_directory(prefix: str) -> Path:
    """Return a new directory, private to this user, whose path leaves room for a Unix socket."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    if len(str(path)) > LONGEST_DIRECTORY:
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    return path


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on.

    It lies below the range from which the kernel takes the ports of outgoing connections, so that a
    server that was killed can have the same port again.
    """
    for _ in range(100):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerUnavailable("no free port between 20000 and 32000 in 100 tries")
