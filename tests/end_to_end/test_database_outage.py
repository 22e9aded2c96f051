"""PostgreSQL goes away and comes back: nobody is told a decision that is not stored, and nothing has to be restarted."""

from __future__ import annotations

import json
import time

import pytest

from tests.end_to_end.test_killed_server import ledger, payment
from tests.servers.postgres_server import create_database


@pytest.fixture
def postgres(start_postgres):
    return start_postgres()


@pytest.fixture
def empty_database_url(postgres) -> str:
    """On a server of this test's own, which it may kill."""
    return create_database(postgres.url)


def _until(condition, seconds: float, what: str):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return result


@pytest.mark.slow
def test_the_api_says_so_while_the_database_is_away_and_goes_on_by_itself(server, key, postgres):
    server.start()
    bodies = {name: payment(name) for name in ("before", "away-0", "away-1", "away-2", "away-9", "after")}

    def decide(name: str) -> tuple[int, dict]:
        status, raw = server.request("POST", "/api/v1/decisions", bodies[name], key)
        return status, json.loads(raw)

    assert decide("before")[0] == 200
    postgres.kill()
    for i in range(3):
        status, problem = decide(f"away-{i}")
        assert status == 503 and problem["retryable"] and problem["code"] in ("engine_unavailable", "database_unavailable"), (
            problem
        )
    time.sleep(5.5)  # API_KEY_CACHE_SECONDS: now even the key cannot be looked up
    status, problem = decide("away-9")
    assert status == 503 and problem["code"] == "database_unavailable", problem
    status, raw = server.request("GET", "/readyz")
    assert status == 503 and json.loads(raw)["checks"]["database"] is False
    assert server.request("GET", "/livez")[0] == 200

    postgres.start()
    # Nothing but decisions is asked for: no other request may be needed to mend a connection.
    _until(lambda: decide("after")[0] == 200, 10, "no decision within 10 s of the database's return")
    assert server.is_ready()
    for name in ("before", "away-0", "away-9", "after"):
        first = decide(name)
        assert first[0] == 200 and decide(name) == first
    stored, _ = ledger(server.environment["DATABASE_URL"])
    assert {name: len(answers) for name, answers in stored.items()} == {"before": 1, "away-0": 1, "away-9": 1, "after": 1}
