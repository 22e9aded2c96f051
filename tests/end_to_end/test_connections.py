"""However many requests are served, the process holds a handful of database connections and files."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import psycopg
import pytest

from tests.end_to_end.app_server import AppServer
from tests.end_to_end.test_killed_server import payment

REQUESTS = [
    ("GET", "/api/v1/decisions", None),
    ("GET", "/api/v1/decisions/none", None),
    ("POST", "/api/v1/labels", {}),
    ("GET", "/metrics", None),
    ("GET", "/readyz", None),
    ("POST", "/api/v1/decisions/dry-run", payment("dry")),
    ("GET", "/api/v1/nothing", None),
    ("GET", "/login/", None),
]


def held(server) -> tuple[int, int]:
    """Return (open files and sockets, sessions at the database)."""
    url = server.environment["DATABASE_URL"]
    files = psutil.Process(server.process.pid).num_fds()
    if not url.startswith("postgresql"):
        return files, 0
    with psycopg.connect(url) as connection:
        counted = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    return files, counted[0]


@pytest.mark.any_database
def test_connections_and_files_do_not_add_up(server, key):
    server.start()
    server.request("POST", "/api/v1/decisions", payment("t1"), key)
    for method, path, body in REQUESTS:
        server.request(method, path, body, key)
    files, sessions = held(server)
    assert sessions <= 6
    for _ in range(20):
        for method, path, body in REQUESTS:
            assert server.request(method, path, body, key)[0] < 500
        server.request("POST", "/api/v1/decisions", payment("t1"), "wrong")
    more_files, more_sessions = held(server)
    assert more_sessions <= sessions + 2, "each request left a connection behind"
    assert more_files <= files + 10, "each request left files open"


@pytest.fixture
def on_postgres(app_environment, postgres_database_url, data_dir) -> Iterator[AppServer]:
    """A server on PostgreSQL, whatever database the run uses."""
    environment = app_environment | {"DATABASE_URL": postgres_database_url, "ENGINE_REFRESH_SECONDS": "0.05"}
    made = AppServer(environment, data_dir / "server.log")
    made.manage("migrate", "--verbosity", "0")
    yield made
    made.close()


def test_the_engine_keeps_its_connection_from_one_refresh_to_the_next(on_postgres):
    """Opening one costs PostgreSQL a process; the decision path must not pay for it each second."""
    server = on_postgres
    key = server.manage("create_api_key", "--name", "test", "--scopes", "decisions:write")
    server.start()
    server.request("POST", "/api/v1/decisions", payment("t1"), key)

    def session_ids() -> set[int]:
        with psycopg.connect(server.environment["DATABASE_URL"]) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return {pid for (pid,) in rows}

    before = session_ids()
    for i in range(10):
        server.request("POST", "/api/v1/decisions", payment(f"x{i}"), key)
    assert len(before & session_ids()) >= len(before) - 1
