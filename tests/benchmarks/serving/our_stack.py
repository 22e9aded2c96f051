"""Installs and starts our own server as a user would, in a fresh DATA_DIR."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.serving.processes import WebServer

ROOT = Path(__file__).resolve().parents[3]
PATH, BATCH_PATH, READY_PATH = "/api/v1/decisions", "/api/v1/decisions/batch", "/readyz"
SCOPES = "decisions:write,decisions:read,labels:write,metrics:read"
# Settings of the surrounding shell that would change what is measured.
NOT_INHERITED = (
    "SECRET_KEY", "SECRET_KEY_FILE", "DEBUG", "ALLOWED_HOSTS", "ARTIFACT_DIR", "SIGNING_KEY_FILE", "VERIFY_KEY_FILE", "REDIS_URL",
)  # fmt: skip


@dataclass(frozen=True)
class OurInstallation:
    """A DATA_DIR with a migrated SQLite database, a serving model and an API key."""

    directory: Path
    api_key: str

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.directory / "riskapp.sqlite3"

    @property
    def environment(self) -> dict[str, str | None]:
        """What a process of ours needs beside the variables of this one; None takes one away."""
        return dict.fromkeys(NOT_INHERITED) | {
            "DJANGO_SETTINGS_MODULE": "riskapp.settings",
            "DATA_DIR": str(self.directory),
            "DATABASE_URL": f"sqlite:///{self.database}",
        }

    def copy(self, directory: Path) -> OurInstallation:
        """Return the same installation, not running, in a new directory."""
        shutil.copytree(self.directory, directory, ignore=_sockets)
        return OurInstallation(directory, self.api_key)

    def stored(self, prefix: str) -> int:
        """Return how many decisions have a transaction id that starts with `prefix-`, straight from the ledger."""
        query = "SELECT count(DISTINCT transaction_id) FROM scoring_decision WHERE transaction_id >= ? AND transaction_id < ?"
        with closing(sqlite3.connect(self.database)) as connection:
            # "." is the character after "-".
            return connection.execute(query, (f"{prefix}-", f"{prefix}.")).fetchone()[0]

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


def prepare_our_server(directory: Path, *, days: int = 30, customers: int = 1_000) -> OurInstallation:
    """Make a DATA_DIR in which `serve` can start: tables, a first model of simulated payments, an API key.

    A history much shorter or smaller than the default holds too few matured frauds for a model.

    Raises:
        subprocess.CalledProcessError: one of the commands failed; it has said why.
    """
    directory.mkdir(parents=True, exist_ok=True)
    installation = OurInstallation(directory, api_key="")
    _manage(installation, "migrate", "--verbosity", "0")
    _manage(installation, "bootstrap_model", "--days", str(days), "--customers", str(customers))
    api_key = _manage(installation, "create_api_key", "--name", "bench-serving", "--scopes", SCOPES)
    return OurInstallation(directory, api_key.strip())


def our_server(installation: OurInstallation, *, cores: Sequence[int] | None = None) -> WebServer:
    """Return our server, not yet started; see `processes.running`, `WebServer.kill` and `WebServer.restart`."""
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--host", "127.0.0.1", "--port", "{port}"]
    return WebServer("ours", command, environment=installation.environment, ready_path=READY_PATH, cores=cores)


def _sockets(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(directory) / name).is_socket()]


def _manage(installation: OurInstallation, *arguments: str) -> str:
    """Run a management command and return what it printed on stdout; its stderr goes to ours."""
    environment = {**os.environ, **installation.environment}
    present = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.run(command, check=True, env=present, stdout=subprocess.PIPE, text=True).stdout
