"""The start-up check of the promise, against real servers that break it in every way that there is."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import dj_database_url
import psycopg
import pytest
from django.db import connection, connections
from django.db.utils import load_backend

from scoring import durability
from scoring.durability import (
    allowed_unsafe_settings,
    require_durability,
    unsafe_settings,
    watch_this_thread,
)
from scoring.errors import UnsafeDurability
from tests.product_source import ROOT
from tests.servers.postgres_server import create_database


@pytest.fixture
def session_to(django_db_blocker) -> Iterator[Callable]:
    """`session_to(url, **options)` is a session of Django's own kind on another database."""
    opened = []

    def connect(url: str, **options):
        given = connections.configure_settings({"default": dj_database_url.parse(url)})["default"]
        given["OPTIONS"] = given.get("OPTIONS", {}) | options
        opened.append(load_backend(given["ENGINE"]).DatabaseWrapper(given, "durability"))
        return opened[-1]

    with django_db_blocker.unblock():
        yield connect
        for session in opened:
            session.close()


@pytest.fixture(autouse=True)
def strict(settings, monkeypatch):
    settings.ALLOW_UNSAFE_DURABILITY = False
    monkeypatch.setattr(durability, "_state", durability._State())


@pytest.fixture(scope="module")
def durable_server():
    from tests.servers.postgres_server import PostgresServer

    server = PostgresServer(durable=True)
    server.start()
    yield server
    server.close()


@pytest.fixture
def database(durable_server) -> str:
    return create_database(durable_server.url)


def names(found) -> dict[str, str]:
    return {setting.name: setting.value for setting in found}


def test_a_durable_postgresql_passes(session_to, database):
    assert require_durability(session_to(database)) == []


def test_a_server_without_fsync_is_refused_by_name_and_remedy(session_to, postgres_database_url):
    session = session_to(postgres_database_url)
    with pytest.raises(UnsafeDurability) as refused:
        require_durability(session)
    for part in ("fsync is off: start the server without -c fsync", "full_page_writes is off", "ALLOW_UNSAFE_DURABILITY=true"):
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("statement", "remedy"),
    [
        ("ALTER ROLE CURRENT_USER IN DATABASE {database} SET synchronous_commit = off", "ALTER ROLE postgres IN DATABASE"),
        ("ALTER DATABASE {database} SET synchronous_commit = off", "ALTER DATABASE {database} RESET synchronous_commit"),
        ("ALTER ROLE CURRENT_USER SET synchronous_commit = off", "ALTER ROLE postgres RESET synchronous_commit"),
    ],
)
def test_what_a_role_or_a_database_sets_is_found(session_to, database, statement, remedy):
    name = database.rsplit("/", 1)[1]
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(statement.format(database=name))
        try:
            (found,) = unsafe_settings(session_to(database))
        finally:
            admin.execute("ALTER ROLE CURRENT_USER RESET ALL")
    assert (found.name, found.value) == ("synchronous_commit", "off")
    assert found.remedy.startswith(remedy.format(database=name))


def test_what_the_address_of_the_database_sets_is_found(session_to, database):
    (found,) = unsafe_settings(session_to(database, options="-c synchronous_commit=off"))
    assert (found.name, found.remedy) == ("synchronous_commit", "remove it from DATABASE_URL's options and from PGOPTIONS")


def test_what_this_session_sets_is_found(session_to, database):
    session = session_to(database)
    with session.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
    (found,) = unsafe_settings(session)
    assert "SET synchronous_commit of this connection" in found.remedy


@pytest.mark.parametrize("level", ["local", "remote_write", "on"])
def test_levels_that_wait_for_this_disk_pass(session_to, database, level):
    assert unsafe_settings(session_to(database, options=f"-c synchronous_commit={level}")) == []


GOOD = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"


@pytest.mark.parametrize(
    ("pragmas", "wrong"),
    [
        (GOOD, {}),
        ("PRAGMA journal_mode=WAL; PRAGMA synchronous=EXTRA;", {}),
        ("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;", {"synchronous": "NORMAL"}),
        ("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;", {"synchronous": "OFF"}),
        ("PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;", {"journal_mode": "delete"}),
        ("PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF;", {"synchronous": "OFF", "journal_mode": "memory"}),
    ],
)
def test_sqlite(session_to, tmp_path, pragmas, wrong):
    session = session_to(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", init_command=pragmas)
    assert names(unsafe_settings(session)) == wrong


def test_a_database_in_memory_keeps_nothing(session_to):
    with pytest.raises(UnsafeDurability, match="journal_mode is memory: use a database file"):
        require_durability(session_to("sqlite:///:memory:", init_command=GOOD))


def test_the_settings_of_the_product_pass():
    """As an operator starts it, on SQLite."""
    program = (
        "import django; django.setup(); from scoring.durability import require_durability; "
        "assert require_durability() == []; print('ok')"
    )
    from os import environ
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as directory:
        hermetic = {name: value for name, value in environ.items() if name not in ("DATABASE_URL", "ALLOW_UNSAFE_DURABILITY")}
        made = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=hermetic | {"DATA_DIR": directory, "DJANGO_SETTINGS_MODULE": "riskapp.settings"},
            capture_output=True,
            text=True,
        )
    assert (made.returncode, made.stdout) == (0, "ok\n"), made.stderr


def test_allowed_by_name_it_is_said_once_and_shown(session_to, postgres_database_url, settings, caplog):
    settings.ALLOW_UNSAFE_DURABILITY = True
    with caplog.at_level(logging.WARNING, logger=durability.__name__):
        for _ in range(3):
            found = require_durability(session_to(postgres_database_url))
    assert names(found) == names(allowed_unsafe_settings()) == {"fsync": "off", "full_page_writes": "off"}
    (record,) = caplog.records
    assert "ALLOW_UNSAFE_DURABILITY" in record.getMessage() and "fsync is off" in record.getMessage()


def in_a_thread(work) -> list:
    """Run work in a thread of its own, with a database connection of its own, and return what it gave or raised."""
    results: list = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return results


@pytest.mark.django_db(transaction=True)
def test_a_session_that_replaces_a_lost_one_is_checked_and_closed(monkeypatch):
    verdicts = [[], [durability.UnsafeSetting("synchronous_commit", "off", "put it right")], []]
    monkeypatch.setattr(durability, "unsafe_settings", lambda of: verdicts.pop(0))

    def work() -> list:
        watch_this_thread()
        connection.ensure_connection()
        connection.close()
        with pytest.raises(UnsafeDurability, match="put it right"):
            connection.ensure_connection()
        assert connection.connection is None, "nothing may write through it"
        connection.ensure_connection()
        return verdicts

    assert in_a_thread(work) == [[]]
    # A thread that does not commit decisions opens sessions as it likes.
    assert in_a_thread(connection.ensure_connection) == [None]
