"""After a restart the features are what they were: the ledger is the memory."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.decisions.requests import request_now
from scoring.feature_rows import stored_row
from scoring.features.schema import current_schema
from scoring.models import Decision, Label, OutboxEvent
from scoring.services.decide import decide_now
from scoring.services.record_labels import record_labels
from tests.scoring.decisions.conftest import payment
from tests.strategies import cut, cuts, examples, transactions

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]


def _features(engine, bodies: list[dict]) -> list[dict[str, float]]:
    rows = [engine.dry_run(request_now(json.dumps(body).encode()))[1].tolist() for body in bodies]
    return [dict(zip(current_schema().names, row, strict=True)) for row in rows]


def _probes(bodies: list[dict]) -> list[dict]:
    """Payments of every party met, at moments from just late enough to far ahead of the newest."""
    newest = max(datetime.fromisoformat(body["occurred_at"]) for body in bodies)
    moments = [newest + timedelta(days=days) for days in (-7, -1, 0, 0.001, 1, 8, 15)]
    return [
        body | {"transaction_id": f"p{i}-{j}", "occurred_at": at.isoformat()}
        for i, body in enumerate(bodies[-6:])
        for j, at in enumerate(moments)
    ]


def _differences(before: list[dict[str, float]], after: list[dict[str, float]]) -> list[str]:
    return [
        f"{name} of probe {i}: {old[name]} before, {new[name]} after"
        for i, (old, new) in enumerate(zip(before, after, strict=True))
        for name in old
        if old[name] != new[name] and not (math.isnan(old[name]) and math.isnan(new[name]))
    ]


@examples(15)
@given(
    bodies=transactions(min_size=3, max_size=18),
    sizes=cuts,
    labels=st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 9)), max_size=6),
)
def test_features_are_the_same_before_and_after_a_restart(fresh_engine, bodies, sizes, labels):
    for table in (Label, OutboxEvent, Decision):
        table.objects.all().delete()
    engine = fresh_engine()
    for part in cut(bodies, sizes):
        assert {result["status"] for result in decide_now(part)} == {200}
    for position, fraud, day in labels:
        body = bodies[position % len(bodies)]
        reported = datetime.fromisoformat(body["occurred_at"]) + timedelta(days=day)
        kind = "fraud" if fraud else "legitimate"
        record_labels(
            [{"transaction_id": body["transaction_id"], "label": kind, "source": "network", "reported_at": reported.isoformat()}],
            "test",
        )
    engine.refresh()
    probes = _probes(bodies)
    before = _features(engine, probes)
    assert _differences(before, _features(fresh_engine(), probes)) == []


def test_history_longer_than_a_chunk_is_read_in_order(fresh_engine, monkeypatch):
    import scoring.decisions.state_keeper as engine_module

    engine = fresh_engine()
    bodies = [payment(i, timedelta(minutes=7 * i), merchant_id=f"m{i % 3}") for i in range(25)]
    decide_now(bodies)
    before = _features(engine, _probes(bodies))
    read = engine_module.read_history
    monkeypatch.setattr(engine_module, "read_history", lambda since, **options: read(since, chunk_rows=4, **options))
    assert _differences(before, _features(fresh_engine(), _probes(bodies))) == []


def test_what_no_window_reaches_is_not_read_again(fresh_engine):
    engine = fresh_engine()
    decide_now([payment(1, timedelta(days=60))])
    of_one = engine.state.event_count()
    decide_now([payment(2, merchant_id="m2", card_id="k2", customer_id="c2", terminal_id="p2", device_id="d2")])
    assert engine.state.event_count() == 2 * of_one
    assert fresh_engine().state.event_count() == of_one


def test_a_restarted_engine_replays_and_goes_on(fresh_engine):
    fresh_engine()
    (first,) = decide_now([payment(1)])
    fresh_engine()
    (again, other, conflict) = decide_now([payment(1), payment(2, timedelta(hours=1)), payment(1, amount_minor=1)])
    assert again["replayed"] and again["decision"] == first["decision"]
    assert not other["replayed"] and conflict["status"] == 409
    row = Decision.objects.get(transaction_id="tx-2")
    assert stored_row(row.features)[current_schema().index("card.count.24h")] == 1


def test_an_empty_ledger_is_no_obstacle(fresh_engine):
    assert fresh_engine().state.event_count() == 0
