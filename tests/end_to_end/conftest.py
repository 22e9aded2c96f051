"""A migrated web process with a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.app_server import AppServer

SCOPES = "decisions:write,decisions:read,labels:write,metrics:read"


@pytest.fixture
def server(app_environment: dict[str, str], data_dir: Path) -> Iterator[AppServer]:
    """A server whose database is migrated; the test starts it."""
    made = AppServer(app_environment, data_dir / "server.log")
    made.manage("migrate", "--verbosity", "0")
    yield made
    made.close()


@pytest.fixture
def key(server: AppServer) -> str:
    """A key with every scope, as an operator makes it."""
    return server.manage("create_api_key", "--name", "test", "--scopes", SCOPES)
