"""`manage.py serve` as a process of its own, and a plain HTTP client for it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.product_source import ROOT
from tests.servers.process import free_port

START_SECONDS = 40.0


class AppServer:
    """One web process on a loopback port that it keeps over restarts."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self.port = free_port()
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Start and return when /readyz says so."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--port", str(self.port)],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            assert self._process.poll() is None, f"the server ended: {self.log_end()}"
            assert time.monotonic() < deadline, f"not ready in {START_SECONDS:g} s: {self.log_end()}"
            time.sleep(0.05)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait(20)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def close(self) -> None:
        """Whatever happened, leave no process."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])

    def port_is_closed(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    def request(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, bytes]:
        """Send one request on a connection of its own and return (status, body)."""
        with Connection(self.port, key) as connection:
            return connection.request(method, path, body)


class Connection:
    """A kept-alive HTTP connection; any failure of it is raised as OSError or HTTPException."""

    def __init__(self, port: int, key: str | None, timeout: float = 30) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self._http.request(method, path, raw, self._headers)
        response = self._http.getresponse()
        return response.status, response.read()
