"""The set of known ids spares look-ups; what it does not know the ledger's index still finds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from django.db import DatabaseError, IntegrityError

import scoring.decisions.engine as engine_module
from scoring.decisions.known_ids import KnownIds
from scoring.decisions.requests import Decided, request_now
from scoring.errors import EngineUnavailable, TransactionConflict
from scoring.features.schema import current_schema
from scoring.models import Decision, OutboxEvent
from tests.scoring.decisions.conftest import payment


def spans(*names: str) -> tuple[bytes, np.ndarray, np.ndarray]:
    lengths = np.array([len(name) for name in names], np.int32)
    return "".join(names).encode(), (np.cumsum(lengths) - lengths).astype(np.int32), lengths


def test_what_was_added_may_be_known_and_the_rest_is_new():
    known = KnownIds()
    assert not known.may_hold_any(*spans("a", "b"))
    known.add(*spans("a", "tx-1", "x" * 64))
    assert known.may_hold_any(*spans("x" * 64)) and known.may_hold_any(*spans("new", "tx-1"))
    assert not known.may_hold_any(*spans("b", "tx-2", "tx-", "x" * 63))
    assert not known.may_hold_any(b"", np.zeros(0, np.int32), np.zeros(0, np.int32))


def decide(engine, *bodies: dict) -> list:
    return engine.decide([request_now(json.dumps(body).encode()) for body in bodies])


@pytest.fixture
def forgetful(fresh_engine):
    """An engine whose set knows nothing of the ten payments that are in the ledger."""
    engine = fresh_engine()
    first = decide(engine, *[payment(i) for i in range(10)])
    engine._keeper.windows.known = KnownIds()
    return engine, [result.body for result in first]


@pytest.mark.any_database
@pytest.mark.django_db(transaction=True)
def test_an_id_that_only_the_ledger_knows_is_found_at_the_commit(forgetful, monkeypatch):
    engine, sent = forgetful
    tries, commit = [], engine_module.commit_decisions
    counted = lambda rows, *rest: (tries.append(rows.count), commit(rows, *rest))  # noqa: E731
    monkeypatch.setattr(engine_module, "commit_decisions", counted)
    results = decide(engine, payment(20), payment(3), payment(4, amount_minor=1), payment(21), payment(20))
    assert results[1] == Decided(sent[3], True)
    assert isinstance(results[2], TransactionConflict)
    assert [results[i].replayed for i in (0, 3, 4)] == [False, False, True] and results[4].body == results[0].body
    assert tries == [4, 2], "first all that looked new, then those that are"
    assert Decision.objects.count() == 12 and OutboxEvent.objects.count() == 12
    row = engine.dry_run(request_now(json.dumps(payment(30)).encode()))[1]
    assert row[current_schema().index("card.count.24h")] == 12, "the first try left nothing in the state"


@pytest.mark.any_database
@pytest.mark.django_db(transaction=True)
def test_a_batch_of_none_but_known_ids(forgetful):
    engine, sent = forgetful
    assert decide(engine, *[payment(i) for i in range(10)]) == [Decided(body, True) for body in sent]
    assert Decision.objects.count() == 10


@pytest.mark.any_database
@pytest.mark.django_db(transaction=True)
def test_a_replay_is_not_written_again_after_it_was_learned(forgetful, monkeypatch):
    engine, sent = forgetful
    decide(engine, payment(50))
    monkeypatch.setattr(engine_module, "commit_decisions", lambda *_: pytest.fail("nothing is new"))
    (again,) = decide(engine, payment(50))
    assert again.replayed


@pytest.mark.django_db
def test_a_second_refusal_by_the_index_is_told_and_nothing_is_remembered(fresh_engine, monkeypatch):
    """Two others were quicker, one after the other: the caller is asked to send it again."""
    engine = fresh_engine()

    def refuse(*_):
        raise IntegrityError("transaction_id")

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "commit_decisions", refuse)
        results = decide(engine, payment(1), payment(2))
    assert all(isinstance(of, EngineUnavailable) and of.retryable for of in results)
    assert not engine._keeper.has_doubts, "a refusal is no doubt"
    assert [of.replayed for of in decide(engine, payment(1), payment(2))] == [False, False]


@pytest.mark.django_db
def test_a_look_up_that_fails_decides_nothing(fresh_engine, monkeypatch):
    engine = fresh_engine()
    (first,) = decide(engine, payment(1))

    def fail(*_):
        raise DatabaseError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "find_answers", fail)
        results = decide(engine, payment(1), payment(2))
        assert all(isinstance(of, EngineUnavailable) for of in results)
    assert Decision.objects.count() == 1
    again, other = decide(engine, payment(1), payment(2))
    assert again == Decided(first.body, True) and not other.replayed
