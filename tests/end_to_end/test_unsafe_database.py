"""A server whose database could lose answered decisions does not decide, and says which setting it is about."""

from __future__ import annotations

import time

import psycopg
import pytest

from tests.end_to_end.test_killed_server import payment
from tests.servers.postgres_server import create_database


@pytest.fixture
def postgres(start_postgres):
    return start_postgres(durable=True)


@pytest.fixture
def empty_database_url(postgres) -> str:
    return create_database(postgres.url)


@pytest.mark.slow
def test_it_starts_once_the_setting_is_right_and_notices_when_it_goes_wrong(server, key, postgres):
    server.environment = server.environment | {"ALLOW_UNSAFE_DURABILITY": "false"}
    name = server.environment["DATABASE_URL"].rsplit("/", 1)[1]
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        with pytest.raises(AssertionError):
            server.start()
        assert f"synchronous_commit is off: ALTER DATABASE {name} RESET synchronous_commit" in server.log.read_text()
        server.close()

        admin.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
        server.start()
        assert server.request("POST", "/api/v1/decisions", payment("first"), key)[0] == 200

        # From now on new sessions are unsafe; the one in use is not, until it is lost.
        admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        assert server.request("POST", "/api/v1/decisions", payment("second"), key)[0] == 200
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        statuses = [server.request("POST", "/api/v1/decisions", payment(f"third-{i}"), key)[0] for i in range(3)]
        assert statuses == [503] * 3
        admin.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
        deadline = time.monotonic() + 20
        while server.request("POST", "/api/v1/decisions", payment("last"), key)[0] != 200:
            assert time.monotonic() < deadline, server.log_end()
            time.sleep(0.2)
    with psycopg.connect(server.environment["DATABASE_URL"]) as connection:
        stored = {row[0] for row in connection.execute("SELECT transaction_id FROM scoring_decision")}
    assert stored == {"first", "second", "last"}
