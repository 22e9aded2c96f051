"""Several engines over one ledger and one log of events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import numpy as np
import pytest
from django.db import OperationalError

import scoring.decisions.engine as engine_module
from scoring.decisions.engine import DecisionEngine
from scoring.decisions.ownership import release_database
from scoring.decisions.requests import Decided, request_now
from scoring.decisions.state_keeper import LedgerState, event_key
from scoring.feature_rows import stored_row
from scoring.features.shared.errors import SharedLogUnavailable
from scoring.features.shared.state import Following
from scoring.models import Decision, Label
from scoring.protection.guards import discard_guards
from scoring.services.record_labels import record_labels
from tests.scoring.decisions.conftest import NOON, make_builtin_rules_live, payment

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def redis_server(start_redis):
    return start_redis()


@pytest.fixture
def start_engine(db, redis_server, settings) -> Iterator[Callable[[], DecisionEngine]]:
    """`start_engine()` returns one more engine, as another process would have it."""
    settings.STATE_STORE, settings.STATE_STORE_URL = "redis", redis_server.url
    settings.STATE_STORE_BUDGET_MS = 2_000.0  # a busy machine is no fault of Redis
    make_builtin_rules_live()
    discard_guards()  # their breaker knows of an earlier test's Redis
    started = []

    def start() -> DecisionEngine:
        started.append(DecisionEngine())
        started[-1].start()
        return started[-1]

    yield start
    for engine in started:
        engine.close()
    release_database()
    discard_guards()


def decide(engine: DecisionEngine, *bodies: dict) -> list[dict]:
    results = engine.decide([request_now(json.dumps(body).encode()) for body in bodies])
    assert all(isinstance(result, Decided) for result in results), results
    return [json.loads(result.body) for result in results]


def recomputed() -> dict[str, np.ndarray]:
    """Return what one store of its own says of the ledger's transactions, one after the other."""
    state, rows = LedgerState(7), {}
    for decision_id, name, text in Decision.objects.order_by("seq").values_list("decision_id", "transaction_id", "transaction"):
        columns = state.read(np.array([event_key(decision_id)], np.uint64), [text.encode()])
        rows[name] = state.process(columns).x[0]
    return rows


def assert_features_are_those_of_one_store(*names: str) -> None:
    truth = recomputed()
    for row in Decision.objects.filter(transaction_id__in=names or list(truth)):
        assert stored_row(row.features).tobytes() == truth[row.transaction_id].tobytes(), row.transaction_id


def test_engines_that_take_turns_say_what_one_would_say(start_engine):
    engines = [start_engine(), start_engine()]
    for number in range(0, 24, 3):
        bodies = [payment(n, n * MINUTE, card_id=f"card-{n % 3}", amount_minor=100 * n + 1) for n in range(number, number + 3)]
        answers = decide(engines[number % 2], *bodies)
        assert {answer["mode"] for answer in answers} == {"rules_only"}
    assert_features_are_those_of_one_store()
    late = start_engine()
    decide(late, payment(30, 30 * MINUTE))
    assert_features_are_those_of_one_store()


def test_a_transaction_that_two_engines_get_at_once_is_decided_once(start_engine):
    one, two = start_engine(), start_engine()
    body = json.dumps(payment(1)).encode()
    work = one.begin([request_now(body)])
    assert not work.must_look_up
    one.prepare(work)
    (winner,) = decide(two, payment(1))
    with pytest.raises(Exception, match="(?i)unique") as failure:
        one.commit(work)
    assert not one.finish(work, failure.value), "once more, with a look"
    one.look_up(work)
    one.prepare(work)
    assert work.rows is None and one.finish(work, None)
    assert json.loads(work.results[0].body) == winner and work.results[0].replayed
    one.state.catch_up()
    decide(two, payment(2, MINUTE))
    assert Decision.objects.count() == 2
    # The loser's event was there when the winner was scored, and is gone since.
    assert_features_are_those_of_one_store("tx-2")


def test_a_repeated_transaction_gets_the_answer_that_another_engine_gave(start_engine):
    one, two = start_engine(), start_engine()
    (first,) = decide(one, payment(1))
    assert decide(two, payment(1)) == [first]
    decide(one, payment(2, MINUTE))
    two.refresh()
    work = two.begin([request_now(json.dumps(payment(2, MINUTE)).encode())])
    assert work.must_look_up, "what it heard of, it looks up before it scores"


def test_without_redis_decisions_go_on_and_say_that_they_are_degraded(start_engine, redis_server):
    one, two = start_engine(), start_engine()
    decide(one, payment(0))
    redis_server.kill()
    answers = decide(one, payment(1, MINUTE)) + decide(two, payment(2, 2 * MINUTE))
    assert all("degraded_features" in answer["stamps"] and answer["degraded"] for answer in answers)
    assert [row.stamps & 8 for row in Decision.objects.order_by("seq")] == [0, 8, 8]
    redis_server.restart()
    for engine in (one, two, one, two):
        engine.state._breaker.record(True)
        engine.refresh()
    answers = decide(one, payment(3, 3 * MINUTE)) + decide(two, payment(4, 4 * MINUTE))
    assert not any("degraded_features" in answer["stamps"] for answer in answers)
    assert_features_are_those_of_one_store("tx-3", "tx-4")  # nothing that was decided meanwhile is missing


def test_an_engine_starts_without_redis(start_engine, redis_server):
    decide(start_engine(), payment(0))
    redis_server.kill()
    engine = start_engine()
    assert engine.state.following is Following.LOST and engine.state.event_count() > 0
    assert "degraded_features" in decide(engine, payment(1, MINUTE))[0]["stamps"]


def test_a_label_reaches_the_windows_of_every_engine(start_engine):
    one, two = start_engine(), start_engine()
    decide(one, payment(0))
    reported = (NOON + DAY).isoformat()
    record_labels([{"transaction_id": "tx-0", "label": "fraud", "source": "network", "reported_at": reported}], "test")
    assert Label.objects.count() == 1
    for engine in (two, one):
        engine.refresh()
        row = engine.dry_run(request_now(json.dumps(payment(9, 10 * DAY)).encode()))[1]
        assert row[engine.schema.index("card.risk_fraud.7d")] == 1


def test_a_label_that_comes_before_its_event_is_learned_with_it(start_engine, redis_server):
    one, two = start_engine(), start_engine()
    two.state.log._hot.run = lambda *_: (_ for _ in ()).throw(SharedLogUnavailable("as the test wants it"))
    decide(one, payment(0))
    reported = (NOON + DAY).isoformat()
    record_labels([{"transaction_id": "tx-0", "label": "fraud", "source": "network", "reported_at": reported}], "test")
    two.refresh()
    del two.state.log._hot.run
    two.state._breaker.record(True)
    two.refresh()
    row = two.dry_run(request_now(json.dumps(payment(9, 10 * DAY)).encode()))[1]
    assert row[two.schema.index("card.risk_fraud.7d")] == 1


def test_a_commit_whose_end_is_not_known_is_asked_for(start_engine, monkeypatch):
    one, two = start_engine(), start_engine()
    real = engine_module.commit_decisions

    def broken(*arguments):
        real(*arguments)
        raise OperationalError("the connection broke after the commit")

    monkeypatch.setattr(engine_module, "commit_decisions", broken)
    one.decide([request_now(json.dumps(payment(0)).encode())])
    monkeypatch.setattr(engine_module, "commit_decisions", real)
    assert Decision.objects.count() == 1 and one.state.event_count() == 0, "not known to be stored"
    decide(one, payment(1, MINUTE))
    decide(two, payment(2, 2 * MINUTE))
    assert_features_are_those_of_one_store()
