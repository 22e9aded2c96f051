"""Two servers on one PostgreSQL and one Redis: features are those of one process; one of them is killed."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest

from scoring.decisions.stamps import Stamp
from scoring.decisions.state_keeper import LedgerState, event_key
from scoring.feature_rows import stored_row
from scoring.features.shared.shared_log import SharedLog
from tests.end_to_end.app_server import AppServer, Connection
from tests.end_to_end.conftest import SCOPES
from tests.scoring.features.shared.members import Replay
from tests.servers.redis_server import client_of

BATCHES, CLIENTS = 25, 2
START = datetime.now(UTC) - timedelta(days=2)


@pytest.fixture
def environment(postgres_database_url, start_redis, data_dir: Path, app_environment) -> dict[str, str]:
    return app_environment | {
        "DATABASE_URL": postgres_database_url,
        "STATE_STORE": "redis",
        "STATE_STORE_URL": start_redis().url,
        "STATE_STORE_BUDGET_MS": "2000",  # a busy machine is no fault of Redis
        "STATE_STORE_MEMBER_SECONDS": "2",
    }


@pytest.fixture
def servers(environment, tmp_path: Path) -> Iterator[list[AppServer]]:
    made = [AppServer(environment, tmp_path / f"server{i}.log") for i in range(2)]
    made[0].manage("migrate", "--verbosity", "0")
    for server in made:
        server.start()
    yield made
    for server in made:
        server.close()


@pytest.fixture
def api_key(servers) -> str:
    return servers[0].manage("create_api_key", "--name", "test", "--scopes", SCOPES)


def payments(client: str, batch: int, count: int) -> list[dict]:
    """Payments of few parties, so that every one sees many of those that the other server decides."""
    chance = random.Random(f"{client} {batch}")
    return [
        {
            "transaction_id": f"{client}-{batch}-{i}",
            "occurred_at": (START + timedelta(seconds=60 * batch + chance.randrange(60))).isoformat(),
            "amount_minor": chance.randrange(1, 90_000),
            "currency": "EUR",
            "type": "card_payment",
            "channel": "pos",
            "customer_id": f"cust-{chance.randrange(3)}",
            "card_id": f"card-{chance.randrange(4)}",
            "merchant_id": f"merch-{chance.randrange(2)}",
        }
        for i in range(count)
    ]


def run(servers: list[AppServer], key: str, phase: str, batches: int = BATCHES) -> list[threading.Thread]:
    """Let clients send to both servers; those of a server that is killed end with it."""

    def send(server: AppServer, client: str) -> None:
        try:
            with Connection(server.port, key) as connection:
                for batch in range(batches):
                    bodies = payments(client, batch, 1 + batch % 9)
                    status, raw = connection.request("POST", "/api/v1/decisions/batch", bodies)
                    assert status == 200, raw
        except (OSError, http.client.HTTPException):
            pass

    threads = [
        threading.Thread(target=send, args=(server, f"{phase}{i}{client}"))
        for i, server in enumerate(servers)
        for client in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    return threads


def ledger(environment: dict[str, str]) -> list[tuple]:
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        return connection.execute(
            "SELECT decision_id, transaction_id, transaction, features, stamps FROM scoring_decision ORDER BY seq"
        ).fetchall()


@pytest.mark.slow
def test_two_servers_say_what_one_process_would_say(servers, api_key, environment):
    for thread in run(servers, api_key, "a"):
        thread.join(60)
    rows = ledger(environment)
    assert len(rows) == 2 * CLIENTS * sum(1 + batch % 9 for batch in range(BATCHES))
    assert not any(stamps & Stamp.DEGRADED_FEATURES for *_, stamps in rows)
    with client_of(environment["STATE_STORE_URL"]) as client:
        (name,) = client.keys("{risk:*}:meta")
        epoch = client.hget(name, "epoch")
        assert client.zcard(name.replace("meta", "beats")) == 2
    log = SharedLog(environment["STATE_STORE_URL"], name.removeprefix("{risk:").removesuffix("}:meta"))
    replay = Replay(log, epoch)
    replay.follow()
    log.close()
    for decision_id, _, _, packed, _ in rows:
        assert stored_row(packed).tobytes() == replay.features[event_key(decision_id)]
    _kill_one_under_load(servers, api_key, environment)


def _kill_one_under_load(servers: list[AppServer], key: str, environment: dict[str, str]) -> None:
    """What the dead one left open is settled, and both say what the ledger says."""
    threads = run(servers, key, "b", 12 * BATCHES)
    time.sleep(0.3)
    servers[0].kill()
    for thread in threads:
        thread.join(60)
    sent = CLIENTS * sum(1 + batch % 9 for batch in range(12 * BATCHES))
    assert sum(name.startswith("b1") for _, name, *_ in ledger(environment)) == sent, "the other went on"
    assert sum(name.startswith("b0") for _, name, *_ in ledger(environment)) < sent, "it was killed in the middle"
    servers[0].start()
    time.sleep(5)  # the survivor notices after two seconds and settles within another
    before = LedgerState(7)
    for decision_id, _, text, _, _ in ledger(environment):
        before.absorb(before.read(np.array([event_key(decision_id)], np.uint64), [text.encode()]))
    for server, name in zip(servers, "xy", strict=True):
        assert server.request("POST", "/api/v1/decisions", payments(name, 12 * BATCHES, 1)[0], key)[0] == 200
    for decision_id, _, text, packed, stamps in ledger(environment)[-2:]:
        truth = before.process(before.read(np.array([event_key(decision_id)], np.uint64), [text.encode()]))
        assert not stamps & Stamp.DEGRADED_FEATURES
        assert stored_row(packed).tobytes() == truth.x[0].tobytes()
