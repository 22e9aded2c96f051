"""Installs and starts the plain stack."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.serving.plain_stack import forest
from tests.benchmarks.serving.processes import WebServer

ROOT = Path(__file__).resolve().parents[4]
PATH = "/decisions"
MODEL, DATABASE = "model.ubj", "plain.sqlite3"


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
    """A directory with a database and a model, ready to be served."""

    directory: Path
    api_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str | None]:
        """What a process of the plain stack needs beside the variables of this one."""
        return {
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.serving.plain_stack.settings",
            "PLAIN_SECRET_KEY": self.secret_key,
            "PLAIN_API_KEY": self.api_key,
            "PLAIN_MODEL_FILE": str(self.directory / MODEL),
            "PLAIN_DATABASE": str(self.directory / DATABASE),
            "PYTHONPATH": str(ROOT),
        }

    def copy(self, directory: Path) -> PlainInstallation:
        """Return the same installation, not running, in a new directory."""
        shutil.copytree(self.directory, directory)
        return replace(self, directory=directory)

    def remove(self) -> None:
        """Delete the directory."""
        shutil.rmtree(self.directory)

    def stored(self, prefix: str) -> int:
        """Return how many decisions have a transaction id that starts with `prefix-`."""
        return len(self.stored_ids(prefix))

    def stored_ids(self, prefix: str) -> list[str]:
        """Return the transaction ids, one a decision, that start with `prefix-`."""
        query = "SELECT transaction_id FROM plain_stack_plaindecision WHERE transaction_id >= ? AND transaction_id < ?"
        with closing(sqlite3.connect(self.directory / DATABASE)) as connection:
            # "." is the character after "-".
            return [row[0] for row in connection.execute(query, (f"{prefix}-", f"{prefix}."))]


def prepare_plain(directory: Path, *, features: int, trees: int = forest.TREES, depth: int = forest.DEPTH) -> PlainInstallation:
    """Train the model and create the tables in `directory`.

    Raises:
        subprocess.CalledProcessError: Django could not create the tables.
    """
    directory.mkdir(parents=True, exist_ok=True)
    forest.train(directory / MODEL, features=features, trees=trees, depth=depth)
    installation = PlainInstallation(directory, secrets.token_urlsafe(24), secrets.token_urlsafe(48))
    command = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"]
    subprocess.run(command, check=True, cwd=directory, env=os.environ | installation.environment)
    return installation


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
