"""The server is killed under load, again and again: what it answered is in the database, once."""

from __future__ import annotations

import http.client
import json
import random
import signal
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from tests.end_to_end.app_server import AppServer, Connection

pytestmark = pytest.mark.any_database
KILLS, CLIENTS = 4, 4


def payment(name: str) -> dict:
    """A payment of one of a few cards, so that the clients' histories are the same ones."""
    card = hash(name) % 7
    return {
        "transaction_id": name,
        "occurred_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
        "amount_minor": 1_000 + len(name),
        "currency": "EUR",
        "type": "card_payment",
        "channel": "pos",
        "customer_id": f"cust-{card}",
        "card_id": f"card-{card}",
        "terminal_id": "term-1",
    }


def as_sent(result: dict) -> bytes:
    """The answer in a result of a batch, as it is sent alone."""
    return json.dumps(result["decision"], separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class Client:
    """Sends payments until told to stop; notes what was acknowledged and what was left open."""

    server: AppServer
    key: str
    name: str
    batch: int
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    bodies: dict[str, dict] = field(default_factory=dict)
    open: list[dict] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        number = 0
        while not stop.is_set():
            try:
                with Connection(self.server.port, self.key, timeout=15) as connection:
                    while not stop.is_set():
                        bodies = [payment(f"{self.name}-{number + i}") for i in range(self.batch)]
                        number += self.batch
                        self._send(connection, bodies)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # the server is away

    def _send(self, connection: Connection, bodies: list[dict]) -> None:
        self.open += bodies
        if self.batch == 1:
            status, raw = connection.request("POST", "/api/v1/decisions", bodies[0])
            answers = [raw] if status == 200 else []
        else:
            status, raw = connection.request("POST", "/api/v1/decisions/batch", bodies)
            results = json.loads(raw)["results"] if status == 200 else []
            answers = [as_sent(result) for result in results if result["status"] == 200]
        if len(answers) == len(bodies):
            self.acknowledged |= {body["transaction_id"]: answer for body, answer in zip(bodies, answers, strict=True)}
            self.bodies |= {body["transaction_id"]: body for body in bodies}
            del self.open[-len(bodies) :]
        elif status != 503:  # 503 promises that nothing was decided; it is checked like the others that are open
            self.unexpected.append(f"{status}: {raw[:300]!r}")


def ledger(database_url: str) -> tuple[dict[str, list[str]], int]:
    """Return (transaction id -> ids of its decisions, number of outbox rows), read without our own code."""
    queries = ("SELECT transaction_id, decision_id FROM scoring_decision", "SELECT count(*) FROM scoring_outboxevent")
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(urlsplit(database_url).path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows, (outbox,) = connection.execute(queries[0]).fetchall(), connection.execute(queries[1]).fetchone()
    else:
        with psycopg.connect(database_url) as connection:
            rows, (outbox,) = connection.execute(queries[0]).fetchall(), connection.execute(queries[1]).fetchone()
    stored: dict[str, list[str]] = {}
    for name, decision_id in rows:
        stored.setdefault(name, []).append(decision_id)
    return stored, outbox


def decision_id(answer: bytes) -> str:
    return json.loads(answer)["decision_id"]


@pytest.mark.slow
def test_every_acknowledged_decision_survives_kill_9_once(server, key):
    server.start()
    clients = [Client(server, key, f"c{i}", batch=1 if i % 2 else 20) for i in range(CLIENTS)]
    stop, chance = threading.Event(), random.Random(5)
    threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        before = sum(len(client.acknowledged) for client in clients)
        time.sleep(0.3 + chance.random())
        while sum(len(client.acknowledged) for client in clients) < before + 50:
            time.sleep(0.01)  # killed under load, not while the clients are still connecting
        server.kill()
        server.start()
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(30)

    acknowledged = {name: answer for client in clients for name, answer in client.acknowledged.items()}
    left_open = [body for client in clients for body in client.open]
    assert [fault for client in clients for fault in client.unexpected] == []
    assert len(acknowledged) > 100 * KILLS and left_open, "the kills must have hit something"

    stored, outbox = ledger(server.environment["DATABASE_URL"])
    assert {name for name in acknowledged if stored.get(name) != [decision_id(acknowledged[name])]} == set()
    assert all(len(decisions) == 1 for decisions in stored.values())
    assert set(stored) <= set(acknowledged) | {body["transaction_id"] for body in left_open}
    # Without a model everything is for review: each decision has its alert, none without a decision.
    assert outbox == len(stored)

    with Connection(server.port, key) as connection:
        for body in left_open[:200]:
            first, again = (connection.request("POST", "/api/v1/decisions", body) for _ in range(2))
            assert first[0] == 200 and first == again
            if body["transaction_id"] in stored:
                assert [decision_id(first[1])] == stored[body["transaction_id"]]
        bodies = [body for client in clients for body in client.bodies.values()]
        for start in range(0, len(bodies), 500):
            asked = bodies[start : start + 500]
            status, raw = connection.request("POST", "/api/v1/decisions/batch", asked)
            assert status == 200
            for body, result in zip(asked, json.loads(raw)["results"], strict=True):
                assert as_sent(result) == acknowledged[body["transaction_id"]], "byte for byte"
        for name in chance.sample(sorted(acknowledged), 50):
            status, raw = connection.request("GET", f"/api/v1/decisions/{decision_id(acknowledged[name])}")
            assert status == 200 and json.loads(raw)["transaction_id"] == name
    after, _ = ledger(server.environment["DATABASE_URL"])
    assert all(len(decisions) == 1 for decisions in after.values())
    assert {body["transaction_id"] for body in left_open[:200]} <= set(after)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_answers_what_is_in_flight_and_leaves_nothing(server, key, number):
    server.start()
    bodies = [payment(f"t{i}") for i in range(4_000)]
    answers = []
    sender = threading.Thread(target=lambda: answers.append(server.request("POST", "/api/v1/decisions/batch", bodies, key)))
    children = psutil.Process(server.process.pid).children(recursive=True)
    sender.start()
    deadline = time.monotonic() + 20
    while len(ledger(server.environment["DATABASE_URL"])[0]) < 256:
        assert time.monotonic() < deadline and sender.is_alive(), "the batch was to be half way"
        time.sleep(0.01)
    server.signal(number)
    sender.join(30)
    ((status, raw),) = answers
    assert status == 200 and [result["status"] for result in json.loads(raw)["results"]] == [200] * len(bodies)
    assert server.process.wait(20) in (0, -number)
    assert server.port_is_closed()
    assert not any(child.is_running() for child in children)
    assert "Traceback" not in server.log.read_text()
    stored, _ = ledger(server.environment["DATABASE_URL"])
    assert len(stored) == len(bodies)
    if server.environment["DATABASE_URL"].startswith("sqlite"):
        left = {path.name for path in server.log.parent.iterdir()}
        assert not any(name.endswith((".sock", ".tmp", ".pid")) for name in left), left
