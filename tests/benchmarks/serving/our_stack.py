"""Installs and starts our own server as a user would, in a fresh DATA_DIR, on SQLite or PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.benchmarks.serving.processes import WebServer
from tests.servers.postgres_server import create_database, drop_database

ROOT = Path(__file__).resolve().parents[3]
PATH, BATCH_PATH, READY_PATH = "/api/v1/decisions", "/api/v1/decisions/batch", "/readyz"
SCOPES = "decisions:write,decisions:read,labels:write,metrics:read"
TREES = 200
# Settings of the surrounding shell that would change what is measured.
NOT_INHERITED = (
    "SECRET_KEY", "SECRET_KEY_FILE", "DEBUG", "ALLOWED_HOSTS", "ARTIFACT_DIR", "SIGNING_KEY_FILE", "VERIFY_KEY_FILE", "REDIS_URL",
    "FAST_LANE", "LIVE_DEADLINE_MS", "BULK_DEADLINE_MS", "TARGET_LATENCY_MS", "MAX_QUEUE_DELAY_US", "ENGINE_MAX_BATCH",
    "ENGINE_QUEUE_LIMIT", "ENGINE_ACCELERATORS", "SCHEDULING_POLICY", "STATE_STORE", "RATE_LIMIT_PER_SECOND", "CONCURRENCY_LIMIT",
    "OVERLOAD_REFUSALS_PER_SECOND",
    "LOG_DECISIONS", "ALLOW_UNSAFE_DURABILITY",
)  # fmt: skip


@dataclass(frozen=True)
class OurInstallation:
    """A DATA_DIR with a serving model and an API key, and a migrated database: SQLite's file in it, or one of PostgreSQL's.

    `postgres_url` is the address of PostgreSQL's maintenance database, None for SQLite.
    """

    directory: Path
    api_key: str
    postgres_url: str | None = None
    postgres_database: str | None = None

    @property
    def database_url(self) -> str:
        """The address as DATABASE_URL takes it."""
        return self.postgres_database or f"sqlite:///{self._database_file}"

    @property
    def environment(self) -> dict[str, str | None]:
        """What a process of ours needs beside the variables of this one; None takes one away."""
        return dict.fromkeys(NOT_INHERITED) | {
            "DJANGO_SETTINGS_MODULE": "riskapp.settings",
            "DATA_DIR": str(self.directory),
            "DATABASE_URL": self.database_url,
        }

    def copy(self, directory: Path) -> OurInstallation:
        """Return the same installation, not running, in a new directory, and a new database of PostgreSQL."""
        shutil.copytree(self.directory, directory, ignore=_sockets)
        database = self.postgres_url and _copy_database(self.postgres_url, self.postgres_database)
        return replace(self, directory=directory, postgres_database=database)

    def remove(self) -> None:
        """Delete directory and database."""
        shutil.rmtree(self.directory)
        if self.postgres_url:
            drop_database(self.postgres_url, self.postgres_database)

    def stored_ids(self, prefix: str) -> list[str]:
        """Return the transaction ids, one a decision, that start with `prefix-`, straight from the ledger."""
        query = "SELECT transaction_id FROM scoring_decision WHERE transaction_id >= {0} AND transaction_id < {0}"
        # "." is the character after "-".
        bounds = (f"{prefix}-", f"{prefix}.")
        if self.postgres_database:
            with psycopg.connect(self.postgres_database) as connection:
                return [row[0] for row in connection.execute(query.format("%s"), bounds)]
        with closing(sqlite3.connect(self._database_file)) as connection:
            return [row[0] for row in connection.execute(query.format("?"), bounds)]

    def forest_shape(self) -> tuple[int, int]:
        """Return (features, trees) of the newest model, for the comparison to use the same.

        Raises:
            FileNotFoundError: no program with a forest was made.
        """
        import xgboost

        models = sorted((self.directory / "artifacts").glob("*/model.ubj"), key=lambda file: file.stat().st_mtime)
        if not models:
            raise FileNotFoundError(f"no artifacts/*/model.ubj in {self.directory}")
        booster = xgboost.Booster(model_file=str(models[-1]))
        return booster.num_features(), booster.num_boosted_rounds()

    @property
    def _database_file(self) -> Path:
        return self.directory / "riskapp.sqlite3"


def prepare_our_server(
    directory: Path, *, postgres_url: str | None = None, days: int = 30, customers: int = 1_000, trees: int = TREES
) -> OurInstallation:
    """Make a DATA_DIR in which `serve` can start: tables, a model of `trees` trees from simulated payments, an API key.

    A history much shorter or smaller than the default holds too few matured frauds for a model.

    Args:
        postgres_url: address of the maintenance database of a PostgreSQL server; None for SQLite.

    Raises:
        subprocess.CalledProcessError: one of the commands failed; it has said why.
    """
    directory.mkdir(parents=True, exist_ok=True)
    installation = OurInstallation(directory, "", postgres_url, postgres_url and create_database(postgres_url))
    _manage(installation, "migrate", "--verbosity", "0")
    _manage(installation, "bootstrap_model", "--days", str(days), "--customers", str(customers))
    _run(installation, "-m", "tests.benchmarks.serving.forest_of_size", str(trees))
    api_key = _manage(installation, "create_api_key", "--name", "bench-serving", "--scopes", SCOPES)
    return replace(installation, api_key=api_key.strip())


def our_server(
    installation: OurInstallation, *, cores: Sequence[int] | None = None, settings: Mapping[str, str] | None = None
) -> WebServer:
    """Return our server, not yet started; see `processes.running`, `WebServer.kill` and `WebServer.restart`.

    Args:
        settings: variables of docs/settings.md that differ from their defaults.
    """
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--host", "127.0.0.1", "--port", "{port}"]
    environment = installation.environment | dict(settings or {})
    return WebServer("ours", command, environment=environment, ready_path=READY_PATH, cores=cores)


def _copy_database(server_url: str, database_url: str) -> str:
    """Return the address of a new database with all that `database_url`, which nobody uses meanwhile, holds."""
    source = urlsplit(database_url).path.lstrip("/")
    # Named as create_database names them; made again with a template.
    copied = create_database(server_url)
    drop_database(server_url, copied)
    name = urlsplit(copied).path.lstrip("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source)))
        # Otherwise the copied pages would reach the disk during the measurement.
        connection.execute("CHECKPOINT")
    return copied


def _sockets(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(directory) / name).is_socket()]


def _manage(installation: OurInstallation, *arguments: str) -> str:
    """Run a management command and return what it printed on stdout; its stderr goes to ours."""
    return _run(installation, str(ROOT / "manage.py"), *arguments)


def _run(installation: OurInstallation, *arguments: str) -> str:
    environment = {**os.environ, **installation.environment}
    present = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, cwd=ROOT, env=present, stdout=subprocess.PIPE, text=True).stdout
