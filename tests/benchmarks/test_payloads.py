"""The bodies of bench-serving are what both servers accept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from scoring.transactions import Transaction, faults_of
from tests.benchmarks.serving import payloads


@pytest.fixture(scope="module")
def population() -> payloads.Population:
    return payloads.make_population()


def test_our_api_accepts_every_body(population):
    decoder = msgspec.json.Decoder(Transaction)
    now = datetime.now(UTC)
    for body in payloads.transactions(population, count=2_000, prefix="t"):
        transaction = decoder.decode(body)
        assert faults_of(transaction, now, timedelta(0)) == []
        assert now - timedelta(seconds=payloads.SPREAD_S + 5) < transaction.occurred_at


def test_transaction_ids_are_unique_and_carry_the_prefix(population):
    ids = [json.loads(body)["transaction_id"] for body in payloads.transactions(population, count=500, prefix="run7")]
    assert ids == [f"run7-{i}" for i in range(500)]


def test_every_kind_and_most_of_the_population_occurs(population):
    seen = [json.loads(body) for body in payloads.transactions(population, count=20_000, prefix="t")]
    assert {(t["type"], t["channel"]) for t in seen} == {(kind, channel) for _, kind, channel in payloads.KINDS}
    assert len({t["customer_id"] for t in seen}) > 15_000
    assert len({t["merchant_id"] for t in seen if "merchant_id" in t}) > 5_000
    at_home = [t["country"] == t["home_country"] for t in seen if "country" in t]
    assert 0.93 < sum(at_home) / len(at_home) < 0.97


def test_batches_are_arrays_of_the_asked_size(population, tmp_path):
    file = tmp_path / "batches"
    payloads.write_batches(file, population, count=3, size=100, prefix="b")
    batches = [json.loads(line) for line in file.read_text().splitlines()]
    assert [len(batch) for batch in batches] == [100, 100, 100]
    assert len({t["transaction_id"] for batch in batches for t in batch}) == 300
