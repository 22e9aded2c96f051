"""A start from the state file: the same features as from the ledger alone, and never from a file that does not fit it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, OperationalError
from hypothesis import given
from hypothesis import strategies as st

from scoring.decisions import state_keeper
from scoring.decisions.engine import DecisionEngine
from scoring.decisions.state_keeper import StateKeeper, state_file
from scoring.models import Decision, Label, OutboxEvent
from scoring.services.decide import decide_now
from scoring.services.record_labels import record_labels
from tests.scoring.decisions.conftest import NOON, payment
from tests.scoring.decisions.test_restart import _differences, _features, _probes
from tests.strategies import cut, cuts, examples, transactions

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def folder(settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture
def read_rows(monkeypatch) -> list[int]:
    """How many decisions were read from the ledger, a number for each chunk."""
    sizes, read = [], state_keeper.read_history

    def counted(*arguments, **options):
        for chunk in read(*arguments, **options):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr(state_keeper, "read_history", counted)
    return sizes


def save(engine: DecisionEngine) -> None:
    engine._keeper.save().join()


def report(transaction_id: str, kind: str, day: int) -> None:
    reported = (NOON + timedelta(days=20 + day)).isoformat()
    record_labels([{"transaction_id": transaction_id, "label": kind, "source": "network", "reported_at": reported}], "test")


@examples(12)
@given(
    bodies=transactions(min_size=4, max_size=18),
    sizes=cuts,
    labels=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=5),
    place=st.integers(1, 17),
)
def test_features_from_file_and_tail_are_those_of_the_whole_ledger(fresh_engine, bodies, sizes, labels, place):
    for table in (Label, OutboxEvent, Decision):
        table.objects.all().delete()
    state_file().unlink(missing_ok=True)
    engine, half = fresh_engine(), 1 + place % (len(bodies) - 1)
    for part in cut(bodies[:half], sizes):
        decide_now(part)
    for position, fraud in labels[::2]:
        report(bodies[position % half]["transaction_id"], "fraud" if fraud else "legitimate", position)
    engine.refresh()
    save(engine)
    for part in cut(bodies[half:], sizes):
        decide_now(part)
    for position, fraud in labels:
        report(bodies[position % len(bodies)]["transaction_id"], "legitimate" if fraud else "fraud", 40 + position)
    engine.refresh()
    probes = _probes(bodies)
    before = _features(engine, probes)
    assert _differences(before, _features(fresh_engine(), probes)) == []
    state_file().unlink()
    assert _differences(before, _features(fresh_engine(), probes)) == []


def test_only_what_came_after_the_file_is_read(fresh_engine, read_rows):
    engine = fresh_engine()
    decide_now([payment(i) for i in range(20)])
    save(engine)
    decide_now([payment(i) for i in range(20, 23)])
    fresh_engine()
    assert read_rows == [3]
    state_file().unlink()
    fresh_engine()
    assert read_rows == [3, 23]


def test_repeated_transactions_are_known_after_a_start_from_the_file(fresh_engine):
    engine = fresh_engine()
    (first,) = decide_now([payment(1)])
    save(engine)
    decide_now([payment(2)])
    again = fresh_engine()
    work = again._keeper.known
    assert work.may_hold_any(*state_keeper.spans_of(["tx-1"])) and work.may_hold_any(*state_keeper.spans_of(["tx-2"]))
    assert not work.may_hold_any(*state_keeper.spans_of(["tx-3"]))
    assert decide_now([payment(1)])[0]["decision"] == first["decision"]


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_damaged_file_is_left_aside_with_its_reason(fresh_engine, read_rows, caplog, keep):
    engine = fresh_engine()
    decide_now([payment(i) for i in range(5)])
    before = _features(engine, _probes([payment(0)]))
    save(engine)
    state_file().write_bytes(state_file().read_bytes()[:keep])
    with caplog.at_level(logging.WARNING):
        again = fresh_engine()
    assert "the state is rebuilt from the ledger" in caplog.text
    assert read_rows == [5] and _differences(before, _features(again, _probes([payment(0)]))) == []


def test_a_file_of_another_ledger_is_left_aside(fresh_engine, read_rows, caplog):
    engine = fresh_engine()
    decide_now([payment(i) for i in range(5)])
    save(engine)
    for table in (OutboxEvent, Decision):
        table.objects.all().delete()
    fresh_engine()
    decide_now([payment(i) for i in range(100, 103)])
    Decision.objects.filter(transaction_id="tx-102").update(decision_id="00000000-0000-7000-8000-000000000000")
    again = fresh_engine()
    assert "belongs to another ledger" in caplog.text
    assert read_rows == [3] and again.state.event_count() < 5 * 7


def test_nothing_new_is_not_written_again(fresh_engine):
    engine = fresh_engine()
    assert engine._keeper.save() is None
    decide_now([payment(1)])
    save(engine)
    assert engine._keeper.save() is None
    decide_now([payment(2)])
    save(engine)
    assert fresh_engine()._keeper.save() is None


def test_a_state_in_doubt_is_not_written(fresh_engine, monkeypatch):
    """The commit happened, and the connection broke before it said so: the decision is in the ledger and not in the state."""
    from scoring.decisions import engine as engine_module

    engine, commit = fresh_engine(), engine_module.commit_decisions
    decide_now([payment(1)])

    def broken(*arguments):
        commit(*arguments)
        raise DatabaseError("the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "commit_decisions", broken)
        assert decide_now([payment(2)])[0]["status"] == 503
    assert engine._keeper.save() is None
    decide_now([payment(3)])
    save(engine)
    before = _features(engine, _probes([payment(0)]))
    assert _differences(before, _features(fresh_engine(), _probes([payment(0)]))) == []


def test_a_session_that_does_not_end_leaves_the_doubt(fresh_engine, monkeypatch):
    engine = fresh_engine()
    decide_now([payment(1)])
    engine._keeper.doubt(["tx-1"])

    def still_there(**_):
        raise OperationalError("abandoned database sessions have not ended within 5 s: [7]")

    with monkeypatch.context() as patch:
        patch.setattr(state_keeper, "end_abandoned_sessions", still_there)
        assert decide_now([payment(2)])[0]["status"] == 503
    assert engine._keeper.has_doubts
    assert decide_now([payment(2)])[0]["status"] == 200 and not engine._keeper.has_doubts


def test_a_rebuild_that_breaks_off_leaves_the_state_and_the_doubt(fresh_engine, monkeypatch):
    engine = fresh_engine()
    decide_now([payment(number) for number in range(3)])
    engine._keeper.doubt(["tx-1"])

    def broken(*arguments, **options):
        raise OperationalError("the connection was lost")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(state_keeper, "read_history", broken)
        assert decide_now([payment(7)])[0]["status"] == 503
    assert engine._keeper.has_doubts
    assert decide_now([payment(7)])[0]["status"] == 200
    before = _features(engine, _probes([payment(0)]))
    assert _differences(before, _features(fresh_engine(), _probes([payment(0)]))) == []


def test_it_is_written_when_it_is_due(fresh_engine, settings):
    engine = fresh_engine()
    decide_now([payment(1)])
    for seconds, written in ((0, False), (3_600, False), (1e-9, True)):
        settings.STATE_SNAPSHOT_SECONDS = seconds
        engine.refresh()
        if engine._keeper._writer is not None:
            engine._keeper._writer.join()
        assert state_file().exists() is written


def test_it_is_written_sooner_after_many_decisions(fresh_engine, settings, monkeypatch):
    engine = fresh_engine()
    monkeypatch.setattr(state_keeper, "_DECISIONS_A_FILE", 3)
    for number, written in ((1, False), (2, False), (3, True)):
        decide_now([payment(number)])
        engine.refresh()
        if engine._keeper._writer is not None:
            engine._keeper._writer.join()
        assert state_file().exists() is written
    settings.STATE_SNAPSHOT_SECONDS = 0
    state_file().unlink()
    decide_now([payment(number) for number in range(4, 9)])
    engine.refresh()
    assert not state_file().exists()


def test_what_is_decided_while_the_file_is_written_is_read_from_the_ledger(fresh_engine, read_rows):
    engine = fresh_engine()
    decide_now([payment(i) for i in range(4)])
    held: list[Callable[[], None]] = []

    def between_batches(act: Callable[[], None]) -> None:
        act()
        held.append(act)
        decide_now([payment(10)])

    engine._keeper.save(between_batches).join()
    assert len(held) == 1
    before = _features(engine, _probes([payment(0)]))
    again = fresh_engine()
    assert read_rows == [1] and _differences(before, _features(again, _probes([payment(0)]))) == []


def test_a_file_that_cannot_be_written_is_reported_and_the_engine_goes_on(fresh_engine, settings, caplog):
    engine = fresh_engine()
    decide_now([payment(1)])
    folder, settings.DATA_DIR = settings.DATA_DIR, settings.DATA_DIR / "missing"
    save(engine)
    assert "the state file was not written" in caplog.text
    settings.DATA_DIR = folder
    save(engine)
    assert state_file().exists()


def test_idle_entities_are_freed_and_no_answer_changes(fresh_engine):
    engine = fresh_engine()
    decide_now([payment(1, card_id="old-card", customer_id="old-customer"), payment(2, timedelta(days=60))])
    probes = _probes(
        [payment(2, timedelta(days=60)), payment(3, timedelta(days=59), card_id="old-card", customer_id="old-customer")]
    )
    before, events = _features(engine, probes), engine.state.event_count()
    engine.refresh()
    assert engine.state.event_count() < events
    assert _differences(before, _features(engine, probes)) == []


def test_a_keeper_of_an_empty_ledger_starts_empty():
    keeper = StateKeeper()
    keeper.rebuild()
    assert keeper.state.event_count() == 0 and keeper.save() is None
