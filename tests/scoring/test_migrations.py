"""A ledger of the first release is taken over: its answers byte for byte, its feature rows bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dj_database_url
import numpy as np
import pytest
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import ConnectionHandler

from scoring.feature_rows import stored_row
from scoring.models import Decision, Label
from scoring.stored_answers import stored_answers

pytestmark = pytest.mark.any_database
OLD = "old"
FIRST, SECOND = ("scoring", "0001_initial"), ("scoring", "0002_answers_from_evidence")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WIDTH = 130


@pytest.fixture
def old(empty_database_url: str, django_db_blocker) -> Iterator[str]:
    """The alias of an empty database beside the test's own."""
    given = dj_database_url.parse(empty_database_url)
    connections.settings[OLD] = ConnectionHandler({"default": given, OLD: given}).settings[OLD]
    with django_db_blocker.unblock():
        yield OLD
        connections[OLD].close()
    del connections[OLD], connections.settings[OLD]


def migrate(target: tuple[str, str]):
    """Return the models as they are then."""
    executor = MigrationExecutor(connections[OLD])
    executor.migrate([target])
    return MigrationExecutor(connections[OLD]).loader.project_state([target]).apps


def plain_rows() -> list[bytes]:
    """Rows as the first release stored them; the last are none at all, and one that lost its end."""
    rng = np.random.default_rng(5)
    rows = [rng.gamma(1.5, 3.0, WIDTH), np.full(WIDTH, np.nan), np.zeros(WIDTH), -np.zeros(WIDTH), np.arange(WIDTH)]
    rows += [np.where(rng.random(WIDTH) < 0.6, np.nan, rng.integers(0, 10**6, WIDTH)), np.full(WIDTH, np.inf), np.ones(3)]
    random_bits = rng.integers(0, 2**32, WIDTH, dtype=np.uint32).view(np.float32)
    return [row.astype("<f4").tobytes() for row in rows] + [random_bits.tobytes(), b"", b"\x00\x00\x80\x3f\x00"]


def answer(number: int) -> str:
    return f'{{"decision_id":"d-{number}","text":"betaald \u20ac {number}","probability":0.{number}1,"n":[1, 2]}}'


def old_decision(model, number: int, features: bytes, **fields):
    values = {
        "decision_id": f"d-{number}",
        "transaction_id": f"t-{number}",
        "body_digest": hashlib.sha256(b"%d" % number).digest(),
        "occurred_at": NOON + timedelta(microseconds=number),
        "received_at": NOON,
        "amount_minor": number,
        "currency": "EUR",
        "type": "card_payment",
        "channel": "pos",
        "customer_id": "c",
        "account_id": "a",
        "terminal_id": "p",
        "device_id": "d",
        "counterparty_id": "b",
        "transaction": f'{{"transaction_id":"t-{number}"}}',
        "outcome": number % 5,
        "score": number,
        "probability": number / 7,
        "margin": -number / 3,
        "features": features,
        "feature_schema": "0" * 16,
        "program_version": "v1",
        "degraded": number % 2 == 0,
        "mode": "degraded_model" if number % 2 == 0 else "normal",
        "engine_us": number,
        "response": answer(number),
    }
    return model(**values | fields)


def test_what_the_first_release_stored_is_kept(old):
    was = migrate(FIRST)
    decisions, rows = was.get_model("scoring", "Decision"), plain_rows()
    decisions.objects.using(old).bulk_create(old_decision(decisions, i, row) for i, row in enumerate(rows))
    first = decisions.objects.using(old).get(decision_id="d-0")
    was.get_model("scoring", "Label").objects.using(old).create(
        label_id="l", decision=first, label="fraud", source="network", occurred_at=NOON, reported_at=NOON, received_at=NOON
    )
    same = ["seq", "decision_id", "transaction_id", "occurred_at", "amount_minor", "customer_id", "transaction", "outcome",
            "score", "probability", "margin", "feature_schema", "degraded", "mode", "response"]  # fmt: skip
    before = list(decisions.objects.using(old).order_by("seq").values_list(*same))

    migrate(SECOND)
    found = list(Decision.objects.using(old).order_by("seq"))
    assert list(Decision.objects.using(old).order_by("seq").values_list(*same)) == before
    assert stored_answers(found) == [answer(i).encode() for i in range(len(rows))]
    assert all(row.form_id is None and row.evidence is None and row.stamps == 0 for row in found)
    for row, plain in zip(found[:-2], rows, strict=False):
        stored, meant = stored_row(row.features), np.frombuffer(plain, "<f4")
        assert np.array_equal(np.isnan(stored), np.isnan(meant))
        assert stored[~np.isnan(meant)].tobytes() == meant[~np.isnan(meant)].tobytes()
    assert stored_row(found[-2].features).size == 0, "none was stored"
    assert bytes(found[-1].features) == rows[-1], "damaged before, and left as it was"
    with pytest.raises(ValueError, match="packed row 0"):
        stored_row(found[-1].features)
    assert Label.objects.using(old).get().decision_id == first.seq


def test_more_rows_than_are_read_at_once(old):
    decisions = migrate(FIRST).get_model("scoring", "Decision")
    row = np.arange(4, dtype="<f4")
    decisions.objects.using(old).bulk_create(
        (old_decision(decisions, i, (row + i).tobytes(), score=0) for i in range(2_003)), batch_size=500
    )
    migrate(SECOND)
    found = Decision.objects.using(old).order_by("seq").values_list("amount_minor", "features")
    assert len(found) == 2_003
    for number, packed in found:
        assert stored_row(packed).tolist() == (row + number).tolist()


@pytest.mark.django_db
def test_no_index_for_like_stands_beside_those_of_ids():
    """On PostgreSQL each would be one more page a decision."""
    with connection.cursor() as cursor:
        names = [*connection.introspection.get_constraints(cursor, Decision._meta.db_table)]
    assert names and not [name for name in names if name.endswith("_like")]
