"""Ledger rows go past the ORM into the table; what the ORM reads back is exactly what was meant."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connection
from hypothesis import given
from hypothesis import strategies as st

from scoring.engine import ID_BYTES, table_rows
from scoring.ledger import commit_decisions, find_answers
from scoring.ledger_tables import DECISIONS
from scoring.models import Decision, OutboxEvent
from tests.scoring.decisions.ledger_samples import PlainRows, packed
from tests.strategies import examples

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def rows(n: int, first: int = 0, **columns) -> PlainRows:
    """n rows of plain values; `columns` replaces some."""
    names = [f"{first + i}" for i in range(n)]
    plain = {
        "decision_id": [f"d-{name}" for name in names],
        "transaction_id": [f"t-{name}" for name in names],
        "occurred_at": np.arange(n, dtype=np.int64) + 1_772_452_800_000_000,
        "received_at": np.arange(n, dtype=np.int64) * 1_000_000,
        "amount_minor": [2_500] * n,
        "currency": ["EUR"] * n,
        "type": ["card_payment"] * n,
        "channel": ["pos"] * n,
        "customer_id": [None] * n,
        "card_id": ["card-1"] * n,
        "merchant_id": [None] * n,
        "country": [None] * n,
        "transaction": ["{}"] * n,
        "outcome": [0] * n,
        "score": [0] * n,
        "probability": [None] * n,
        "margin": [None] * n,
        "features": [b""] * n,
        "feature_schema": ["0" * 16] * n,
        "program_version": ["v1"] * n,
        "degraded": [False] * n,
        "mode": ["normal"] * n,
        "stamps": [0] * n,
        "engine_us": [1] * n,
        "form_id": [2**63 - 1] * n,
        "evidence": [b""] * n,
        "response": [None] * n,
    }
    return PlainRows(**plain | columns)


def stored() -> list[dict]:
    """What the ORM reads, in order of arrival, as PlainRows' fields."""
    found = Decision.objects.order_by("seq").values(*PlainRows._fields)
    return [
        {name: bytes(value) if name in ("features", "evidence") else value for name, value in row.items()} for row in found
    ]


def expected(given_: PlainRows) -> list[dict]:
    columns = given_._asdict() | {
        name: [EPOCH + timedelta(microseconds=int(us)) for us in getattr(given_, name)] for name in ("occurred_at", "received_at")
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_a_row_has_the_columns_of_the_table_in_their_order():
    columns = [field.column for field in Decision._meta.concrete_fields if not field.primary_key]
    assert list(PlainRows._fields) == columns


finite = st.floats(allow_nan=False, allow_infinity=False)
token = st.text("ABCxyz019._:-", min_size=1, max_size=64)
printable = st.text([chr(c) for c in range(32, 127) if chr(c) != "\\"], max_size=40)
moment = st.one_of(
    st.integers(0, 4_000_000_000).map(lambda s: s * 1_000_000),
    st.integers(0, 4_000_000_000_000_000),
    st.integers(0, 4_000_000_000_000).map(lambda ms: ms * 1_000),
)
one_row = st.fixed_dictionaries(
    {
        "occurred_at": moment,
        "received_at": moment,
        "amount_minor": st.integers(0, 10**12),
        "customer_id": st.none() | token,
        "card_id": st.none() | token,
        "merchant_id": st.none() | token,
        "country": st.sampled_from([None, "NL", "GB"]),
        "transaction": printable,
        "outcome": st.integers(0, 4),
        "score": st.integers(0, 1000),
        "probability": st.none() | st.floats(0, 1) | st.just(5e-324),
        "margin": st.none() | finite,
        "features": st.binary(max_size=40),
        "degraded": st.booleans(),
        "stamps": st.integers(0, 511),
        "engine_us": st.integers(0, 2**31 - 1),
        "form_id": st.integers(0, 2**63 - 1),
        "evidence": st.binary(max_size=40),
    }
)


@pytest.mark.any_database
@pytest.mark.django_db
@examples(40)
@given(st.lists(one_row, min_size=1, max_size=9))
def test_the_orm_reads_back_exactly_what_was_given(many):
    Decision.objects.all().delete()
    columns = {name: [row[name] for row in many] for name in many[0]}
    for name in ("occurred_at", "received_at"):
        columns[name] = np.array(columns[name], np.int64)
    given_ = rows(len(many), **columns)
    commit_decisions(packed(given_), b"", NOW)
    found = stored()
    assert found == expected(given_)
    for before, after in zip(expected(given_), found, strict=True):
        for name in ("probability", "margin"):  # == takes -0.0 for 0.0
            if before[name] is not None:
                assert (before[name].hex(), type(after[name])) == (after[name].hex(), float), name


@pytest.mark.any_database
@pytest.mark.django_db
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
def test_any_number_of_rows_arrives_whole_and_in_order(n):
    given_ = rows(n)
    alerting = ["0".rjust(ID_BYTES, "d"), str(n - 1).rjust(ID_BYTES, "d")]
    commit_decisions(packed(given_), "".join(alerting).encode(), NOW)
    assert stored() == expected(given_)
    assert list(OutboxEvent.objects.order_by("id").values_list("subject", "topic", "created_at", "attempts", "last_error")) == [
        (name, "alert.raise", NOW, 0, "") for name in alerting
    ]


@pytest.mark.any_database
@pytest.mark.django_db
def test_times_and_floats_can_be_searched_by_the_orm_like_rows_that_it_wrote():
    times = np.array([1_772_452_800_000_000, 1_772_452_800_000_001, 1_772_452_800_500_000], np.int64)
    given_ = rows(3, occurred_at=times, received_at=times, probability=[0.1, math.nextafter(0.1, 1), None])
    commit_decisions(packed(given_), b"", NOW)
    for row in Decision.objects.all():
        assert Decision.objects.get(occurred_at=row.occurred_at).pk == row.pk
        assert row.occurred_at == row.received_at
    assert [*Decision.objects.order_by("occurred_at").values_list("transaction_id", flat=True)] == ["t-0", "t-1", "t-2"]
    assert Decision.objects.get(probability=0.1).transaction_id == "t-0"
    later = EPOCH + timedelta(microseconds=1_772_452_800_000_001)
    assert Decision.objects.filter(occurred_at__gte=later).count() == 2


@pytest.mark.any_database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("at", [0, 1, 64])
def test_one_id_that_is_stored_already_refuses_all_rows_and_their_alerts(at):
    commit_decisions(packed(rows(1, first=at)), b"", NOW)
    with pytest.raises(IntegrityError):
        commit_decisions(packed(rows(65)), b"d" * ID_BYTES, NOW)
    assert Decision.objects.count() == 1 and not OutboxEvent.objects.exists()
    commit_decisions(packed(rows(3, first=100)), b"", NOW)  # the connection goes on
    assert Decision.objects.count() == 4


def test_rows_that_were_packed_say_what_they_held():
    given_ = rows(2, features=[b"\x00\t\n\\\xff", b""], occurred_at=np.array([1, -1], np.int64), margin=[-0.0, None])
    assert isinstance(packed(given_), table_rows.TableRows)
    told = [dict(zip(DECISIONS.columns, row, strict=True)) for row in packed(given_).values()]
    assert told[0]["features"] == b"\x00\t\n\\\xff" and told[1]["evidence"] == b""
    assert [row["occurred_at"] for row in told] == [1, -1]
    assert math.copysign(1, told[0]["margin"]) == -1 and told[1]["margin"] is None


@pytest.mark.any_database
@pytest.mark.django_db
def test_many_ids_are_looked_up_in_parts_and_strangers_are_left_out():
    n = 600
    answers = [f'{{"n":{i}}}' for i in range(n)]
    commit_decisions(packed(rows(n, form_id=[None] * n, response=answers)), b"", NOW)
    found = find_answers([f"t-{i}" for i in range(-5, n + 5)])
    assert {name: (of.transaction, of.body) for name, of in found.items()} == {
        f"t-{i}": ("{}", answers[i].encode()) for i in range(n)
    }


@pytest.mark.django_db
def test_a_session_of_another_kind_says_which_setting_is_missing(monkeypatch):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's sessions need no setting")
    monkeypatch.setattr("scoring.ledger_tables.SqliteSession", int)
    with pytest.raises(ImproperlyConfigured, match='"factory": SqliteSession, as riskapp/settings.py'):
        commit_decisions(packed(rows(1)), b"", NOW)
