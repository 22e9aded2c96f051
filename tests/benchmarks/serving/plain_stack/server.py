"""Installs and starts the plain stack."""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.serving.plain_stack import forest
from tests.benchmarks.serving.processes import WebServer

ROOT = Path(__file__).resolve().parents[4]
PATH = "/decisions"


@dataclass(frozen=True)
class GunicornWorkers:
    """How gunicorn runs the application: processes of one kind, threads in each (1 for `sync`)."""

    kind: str
    processes: int
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.kind}, {self.processes} processes" + (f" x {self.threads} threads" if self.threads > 1 else "")


@dataclass(frozen=True)
class PlainInstallation:
    """A database and a model, ready to be served."""

    directory: Path
    api_key: str
    environment: dict[str, str]

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return Path(self.environment["PLAIN_DATABASE"])

    def stored(self, prefix: str) -> int:
        """Return how many decisions have a transaction id that starts with `prefix-`."""
        query = "SELECT count(*) FROM plain_stack_plaindecision WHERE transaction_id >= ? AND transaction_id < ?"
        with closing(sqlite3.connect(self.database)) as connection:
            # "." is the character after "-".
            return connection.execute(query, (f"{prefix}-", f"{prefix}.")).fetchone()[0]


def prepare_plain(directory: Path, *, features: int, trees: int = forest.TREES, depth: int = forest.DEPTH) -> PlainInstallation:
    """Train the model and create the tables in `directory`.

    Raises:
        subprocess.CalledProcessError: Django could not create the tables.
    """
    directory.mkdir(parents=True, exist_ok=True)
    forest.train(directory / "model.ubj", features=features, trees=trees, depth=depth)
    api_key = secrets.token_urlsafe(24)
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.serving.plain_stack.settings",
        "PLAIN_SECRET_KEY": secrets.token_urlsafe(48),
        "PLAIN_API_KEY": api_key,
        "PLAIN_MODEL_FILE": str(directory / "model.ubj"),
        "PLAIN_DATABASE": str(directory / "plain.sqlite3"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"]
    subprocess.run(command, check=True, cwd=directory, env=os.environ | environment)
    return PlainInstallation(directory, api_key, environment)


def plain_server(installation: PlainInstallation, workers: GunicornWorkers, *, cores: Sequence[int] | None = None) -> WebServer:
    """Return the plain stack under gunicorn, not yet started."""
    command = [
        sys.executable, "-m", "gunicorn", "tests.benchmarks.serving.plain_stack.wsgi:application",
        "--bind", "127.0.0.1:{port}", "--worker-class", workers.kind, "--workers", str(workers.processes),
        "--threads", str(workers.threads), "--keep-alive", "30", "--backlog", "2048", "--log-level", "warning",
        # Imported once before the fork: a worker that still imports would slow the first measurements.
        "--no-control-socket", "--preload",
    ]  # fmt: skip
    return WebServer("plain", command, environment=installation.environment, ready_path="/readyz", cores=cores)
