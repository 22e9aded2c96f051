"""The servers that the other tests rely on are real, and die and come back as told."""

import contextlib
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.servers.postgres_server import create_database, drop_database
from tests.servers.process import ServerUnavailable, free_port
from tests.servers.redis_server import RedisServer, client_of


def test_postgres_answers_and_is_a_supported_version(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        assert connection.info.server_version >= 140000


def test_created_database_is_empty_and_can_be_dropped_while_in_use(postgres_url):
    url = create_database(postgres_url)
    with contextlib.closing(psycopg.connect(url)) as connection:
        tables = connection.execute("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        assert tables.fetchone() == (0,)
        drop_database(postgres_url, url)
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_killed_postgres_leaves_no_process_and_keeps_what_was_committed(start_postgres):
    server = start_postgres()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
        connection.commit()
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.kill()
        assert len(processes) > 1
        assert not any(process.is_running() for process in processes)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    url = server.url
    server.restart()
    assert server.url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


def test_redis_starts_empty_where_the_settings_point(redis_url, settings):
    assert settings.REDIS_URL == redis_url
    with client_of(redis_url) as client:
        assert client.dbsize() == 0
        assert client.info("server")["tcp_port"] == 0 or not redis_url.startswith("redis+socket")


@pytest.mark.parametrize(("durable", "after_restart"), [(True, "7"), (False, None)])
def test_killed_redis_keeps_its_keys_only_where_durable(start_redis, durable, after_restart):
    server = start_redis(durable=durable)
    with server.client() as client:
        client.set("n", 7)
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.get("n")
        server.restart()
        assert client.get("n") == after_restart


def test_server_that_cannot_start_says_why(tmp_path):
    server = RedisServer(socket_path=tmp_path / "missing" / "redis.sock")
    try:
        with pytest.raises(ServerUnavailable, match="ended with 1(.|\n)*No such file or directory"):
            server.start()
    finally:
        server.close()
    assert not server.directory.exists()


def test_closed_server_leaves_neither_process_nor_files(start_redis):
    server = start_redis()
    process = psutil.Process(server.pid)
    server.close()
    assert not process.is_running()
    assert not server.directory.exists()


def test_free_port_is_outside_the_range_of_outgoing_connections():
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert 1024 < free_port() < lowest_outgoing


@pytest.mark.any_database
@pytest.mark.django_db
def test_run_uses_the_database_that_it_was_told_to(servers_of_run):
    from django.db import connection

    vendors = {"sqlite": "sqlite", "postgres": "postgresql"}
    assert connection.vendor == vendors[servers_of_run.database]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations")
        assert cursor.fetchone()[0] > 0


@pytest.mark.django_db
def test_sqlite_test_database_is_a_file_in_wal_mode(servers_of_run):
    from django.db import connection

    if servers_of_run.database != "sqlite":
        pytest.skip("PostgreSQL run")
    assert Path(connection.settings_dict["NAME"]).parent == servers_of_run.directory
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        assert cursor.fetchone() == ("wal",)


@pytest.mark.browser
def test_browser_shows_a_page_and_reaches_no_other_machine(browser):
    from selenium.common.exceptions import WebDriverException

    browser.get("data:text/html,<title>here</title>")
    assert browser.title == "here"
    with pytest.raises(WebDriverException, match="ERR_NAME_NOT_RESOLVED"):
        browser.get("http://example.invalid/")
