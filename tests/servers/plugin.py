"""Pytest plugin (`-p tests.servers.plugin`): the environment of the test run, before Django reads its settings.

TEST_DATABASE       sqlite (default) or postgres: what DATABASE_URL of the run is
TEST_POSTGRES_URL   a PostgreSQL server to use instead of one of our own (the role must be able to create databases)
TEST_REDIS_URL      a Redis server to use instead of one of our own; the database that it names is emptied
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers.postgres_server import PostgresServer
from tests.servers.process import ServerProcess, short_directory
from tests.servers.redis_server import RedisServer

Server = TypeVar("Server", bound=ServerProcess)

# Settings of the surrounding shell must not leak into the tests.
HERMETIC = ("SECRET_KEY", "SECRET_KEY_FILE", "DEBUG", "ALLOWED_HOSTS", "ARTIFACT_DIR", "SIGNING_KEY_FILE", "VERIFY_KEY_FILE")


class ServersOfRun:
    """The directory and the shared servers of one pytest run; servers start when first asked for."""

    def __init__(self, database: str) -> None:
        if database not in ("sqlite", "postgres"):
            raise pytest.UsageError(f"TEST_DATABASE must be sqlite or postgres, not {database!r}")
        self.database = database
        self.directory = short_directory("riskapp-tests-")
        self._started: list[ServerProcess] = []

    @cached_property
    def postgres_url(self) -> str:
        """The maintenance database of the run's PostgreSQL."""
        return os.environ.get("TEST_POSTGRES_URL") or self._start(PostgresServer()).url

    @cached_property
    def redis_url(self) -> str:
        """The run's Redis, now running."""
        return os.environ.get("TEST_REDIS_URL") or self._start(RedisServer(socket_path=self._redis_socket)).url

    def environment(self) -> dict[str, str]:
        """Return the variables that riskapp.settings reads in this run."""
        sqlite_url = f"sqlite:///{self.directory / 'riskapp.sqlite3'}"
        return {
            "DATA_DIR": str(self.directory),
            # The run's PostgreSQL does not wait for the disk: it is quicker, and no test pulls the plug.
            "ALLOW_UNSAFE_DURABILITY": "true",
            "DATABASE_URL": self.postgres_url if self.database == "postgres" else sqlite_url,
            # Redis itself starts with the first test that asks for it.
            "REDIS_URL": os.environ.get("TEST_REDIS_URL") or f"redis+socket://{self._redis_socket}",
        }

    def close(self) -> None:
        """Stop what was started and remove the files."""
        for server in self._started:
            server.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _redis_socket(self) -> Path:
        return self.directory / "redis.sock"

    def _start(self, server: Server) -> Server:
        # Listed first, so that one that fails to start is cleaned up as well.
        self._started.append(server)
        server.start()
        return server


SERVERS = pytest.StashKey[ServersOfRun]()


# A wrapper runs before every plain hook, pytest-django's among them, which imports the settings.
@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    servers = ServersOfRun(os.environ.get("TEST_DATABASE", "sqlite"))
    early_config.add_cleanup(servers.close)
    early_config.stash[SERVERS] = servers
    for name in HERMETIC:
        os.environ.pop(name, None)
    os.environ.update(servers.environment())
    return (yield)
