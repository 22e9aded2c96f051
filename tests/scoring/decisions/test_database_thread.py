"""The thread with the decision path's database connection."""

from __future__ import annotations

import logging
import threading

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from scoring.decisions.database_thread import DatabaseThread
from scoring.models import OutboxEvent


@pytest.fixture
def thread():
    made = DatabaseThread()
    yield made
    made.stop()


def collected(thread: DatabaseThread, functions: list) -> list[tuple]:
    """Return (result, error, name of the thread) of each function, in the order in which they came back."""
    told, done = [], threading.Semaphore(0)

    def then(result, error) -> None:
        told.append((result, error, threading.current_thread().name))
        done.release()

    for function in functions:
        thread.run(function, then)
    for _ in functions:
        assert done.acquire(timeout=20)
    return told


def test_functions_run_one_after_the_other_in_the_thread_and_so_does_what_follows(thread):
    told = collected(thread, [lambda i=i: (i, threading.current_thread().name) for i in range(50)])
    assert told == [((i, "commit"), None, "commit") for i in range(50)]


class Halt(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("x"), Halt()])
def test_an_error_is_handed_over_and_the_thread_goes_on(thread, error):
    def fail():
        raise error

    assert collected(thread, [fail, lambda: 2]) == [(None, error, "commit"), (2, None, "commit")]


def test_what_follows_may_fail_and_may_ask_for_more(thread, caplog):
    done = threading.Event()

    def bad(_result, _error) -> None:
        thread.run(lambda: 7, lambda result, _: done.set() if result == 7 else None)
        raise RuntimeError("bug")

    with caplog.at_level(logging.ERROR):
        thread.run(lambda: 1, bad)
        assert done.wait(20)
    assert "a result of the database could not be handed over" in caplog.text


def test_it_ends_after_what_was_handed_over_before():
    thread, seen, may_go_on = DatabaseThread(), [], threading.Event()
    thread.run(lambda: may_go_on.wait(20), lambda *_: None)
    for i in range(5):
        thread.run(lambda i=i: i, lambda result, _: seen.append(result))
    threading.Timer(0.05, may_go_on.set).start()
    thread.stop()
    assert seen == [0, 1, 2, 3, 4] and not thread._thread.is_alive()
    thread.stop()  # once more does no harm


@pytest.mark.any_database
@pytest.mark.django_db(transaction=True)
def test_it_has_a_connection_of_its_own_that_is_opened_anew_after_it_broke(thread):
    def write(subject: str):
        OutboxEvent.objects.create(topic="t", subject=subject, created_at=timezone.now())
        return connection.connection

    (first, error, _), (same, _, _) = collected(thread, [lambda: write("a"), lambda: write("b")])
    assert error is None and first is same and first is not connection.connection
    written = ["a", "b"]
    if connection.vendor == "postgresql":  # a file cannot be lost, a server can
        collected(thread, [lambda: connection.connection.close()])
        (_, noticed, _), (second, error, _) = collected(thread, [lambda: write("lost"), lambda: write("c")])
        assert isinstance(noticed, OperationalError) and error is None and second is not first
        written.append("c")
    assert list(OutboxEvent.objects.order_by("id").values_list("subject", flat=True)) == written
