"""A session that nobody holds any more stores nothing behind the back of whoever looked up what it had stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from scoring import commit_sessions
from scoring.commit_sessions import end_abandoned_sessions, mark_session
from scoring.decisions import engine as engine_module
from scoring.decisions import ownership
from scoring.decisions.ownership import claim_database, release_database
from scoring.decisions.state_keeper import state_file
from scoring.models import Decision
from scoring.services.decide import decide_now
from tests.scoring.decisions.conftest import payment
from tests.scoring.decisions.test_ownership import another_process
from tests.scoring.decisions.test_restart import _differences, _features, _probes

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]
# What a row is told apart by; the rest of a copy may be as it is.
OWN = {"transaction_id": "'tx-late'", "decision_id": "'00000000-0000-7000-8000-000000000000'"}


@pytest.fixture(autouse=True)
def _on_postgresql(settings, tmp_path) -> Iterator[None]:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no sessions that outlive their process")
    settings.DATA_DIR = tmp_path
    yield
    release_database()


@pytest.fixture
def other_session() -> Iterator[BaseDatabaseWrapper]:
    session = connection.copy()
    yield session
    session.close()


def say_that_it_stores(session: BaseDatabaseWrapper, process: int | None = None) -> None:
    number = commit_sessions._process.number() if process is None else process
    session.cursor().execute("SELECT pg_advisory_lock_shared(%s, %s)", [commit_sessions.STORES, number])


def begin_to_store(session: BaseDatabaseWrapper) -> None:
    """Store a copy of the first decision, and leave the commit to come."""
    columns = [field.column for field in Decision._meta.concrete_fields if not field.primary_key]
    names = ",".join(f'"{name}"' for name in columns)
    values = ",".join(OWN.get(name, f'"{name}"') for name in columns)
    session.set_autocommit(False)
    session.cursor().execute(f"INSERT INTO scoring_decision ({names}) SELECT {values} FROM scoring_decision ORDER BY seq LIMIT 1")


def assert_the_state_is_the_ledger_s(engine, fresh_engine) -> None:
    probes = _probes([payment(0)])
    lived = _features(engine, probes)
    state_file().unlink(missing_ok=True)
    assert _differences(lived, _features(fresh_engine(), probes)) == []


def test_a_session_says_so_before_its_first_decision(fresh_engine):
    fresh_engine()
    decide_now([payment(1)])
    decide_now([payment(2)])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND pid = pg_backend_pid()",
            [commit_sessions.STORES],
        )
        assert cursor.fetchone() == (1,), "once is enough"
        held = connection.connection
        mark_session()
        assert connection.connection is held


@pytest.mark.parametrize("is_first_there", [True, False])
def test_what_a_killed_process_left_is_in_the_ledger_before_the_start_or_never(fresh_engine, other_session, is_first_there):
    fresh_engine()
    decide_now([payment(1)])
    say_that_it_stores(other_session, process=1)
    begin_to_store(other_session)
    if is_first_there:
        other_session.commit()
    engine = fresh_engine()
    if not is_first_there:
        with pytest.raises(DatabaseError):
            other_session.commit()
    assert Decision.objects.count() == 1 + is_first_there
    assert_the_state_is_the_ledger_s(engine, fresh_engine)


def test_a_commit_in_doubt_does_not_come_through_after_it_was_looked_up(fresh_engine, other_session, monkeypatch):
    engine = fresh_engine()
    decide_now([payment(1)])

    def broken(*arguments):
        say_that_it_stores(other_session)
        begin_to_store(other_session)
        raise OperationalError("the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "commit_decisions", broken)
        (answer,) = decide_now([payment("late")])
    assert answer["status"] == 503 and engine._keeper.has_doubts
    (again,) = decide_now([payment("late")])
    assert again["status"] == 200 and not again["replayed"] and not engine._keeper.has_doubts
    with pytest.raises(DatabaseError):
        other_session.commit()
    assert Decision.objects.count() == 2
    assert_the_state_is_the_ledger_s(engine, fresh_engine)


def test_a_session_that_another_thread_holds_is_not_abandoned(fresh_engine):
    """As that of the thread that commits, when another one starts the engine anew."""
    fresh_engine()
    decide_now([payment(1)])
    held = connection.connection
    thread = threading.Thread(target=lambda: (end_abandoned_sessions(of_all_processes=True), connection.close()))
    thread.start()
    thread.join(30)
    assert connection.connection is held and connection.is_usable()


def test_only_sessions_that_store_decisions_are_ended_and_of_others_only_where_asked(other_session):
    end_abandoned_sessions(of_all_processes=True)
    with other_session.cursor() as cursor:
        cursor.execute("SELECT 1")  # it has said nothing
    say_that_it_stores(other_session, process=1 + commit_sessions._process.number() % 1_000)
    end_abandoned_sessions(of_all_processes=False)
    assert other_session.is_usable()
    end_abandoned_sessions(of_all_processes=True)
    assert not other_session.is_usable()


def test_a_claim_that_broke_off_is_this_process_s_to_renew():
    """Without it the engine would stop, as if another process had taken over."""
    claim_database()
    ((session, _),) = ownership._sessions.values()
    held_by_the_server = session.connection  # nobody here knows of it any more, and PostgreSQL has not noticed
    ownership._sessions.clear()
    claim_database()
    assert another_process().startswith("refused another process decides on this database already")
    with pytest.raises(psycopg.Error):
        held_by_the_server.execute("SELECT 1")
