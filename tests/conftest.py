"""Fixtures that every test may use: real servers, fresh databases, a browser.

`redis_url` and `postgres_url` are the run's shared servers. `start_redis` and `start_postgres` give a test servers of
its own, to kill and restart. `app_environment` is what a separate process of ours needs.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.plugin import SERVERS, ServersOfRun
from tests.servers.postgres_server import PostgresServer, create_database, drop_database
from tests.servers.process import ServerProcess, short_directory
from tests.servers.redis_server import RedisServer, client_of

# A marker, what the test then needs on PATH (any one of each group), for tests that say so.
NEEDED_COMMANDS = {
    "browser": [("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)],
    "needs_compiler": [("cc", "gcc", "clang")],
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, groups in NEEDED_COMMANDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        for group in groups:
            if any(shutil.which(command) for command in group):
                continue
            reason = f"no {' or '.join(group)} on PATH"
            # Where a green run is taken as proof, nothing may be left out.
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)


@pytest.fixture(scope="session")
def servers_of_run(pytestconfig: pytest.Config) -> ServersOfRun:
    """The run's directory and shared servers."""
    return pytestconfig.stash[SERVERS]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers_of_run: ServersOfRun) -> None:
    """Put Django's SQLite test database into a file: threads then share it and WAL works, as in production."""
    from django.db import connections

    settings = connections["default"].settings_dict
    if settings["ENGINE"] == "django.db.backends.sqlite3":
        settings["TEST"]["NAME"] = str(servers_of_run.directory / "test.sqlite3")


@pytest.fixture(scope="session")
def postgres_url(servers_of_run: ServersOfRun) -> str:
    """The maintenance database of a running PostgreSQL, whatever database the run itself uses."""
    return servers_of_run.postgres_url


@pytest.fixture
def redis_url(servers_of_run: ServersOfRun) -> Iterator[str]:
    """A running, empty Redis at the REDIS_URL of this run's settings."""
    with client_of(servers_of_run.redis_url) as client:
        client.flushdb()
        yield servers_of_run.redis_url
        client.flushdb()


@pytest.fixture
def start_postgres() -> Iterator[Callable[..., PostgresServer]]:
    """`start_postgres(durable=False)` returns a PostgresServer of this test's own: `.url`, `.kill()`, `.restart()`."""
    yield from _starter(PostgresServer)


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """`start_redis(durable=False)` returns a RedisServer of this test's own: `.url`, `.client()`, `.kill()`, `.restart()`."""
    yield from _starter(RedisServer)


@pytest.fixture
def postgres_database_url(postgres_url: str) -> Iterator[str]:
    """DATABASE_URL of an empty PostgreSQL database, dropped after the test."""
    url = create_database(postgres_url)
    yield url
    drop_database(postgres_url, url)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty DATA_DIR whose path leaves room for a Unix socket, removed after the test."""
    directory = short_directory("riskapp-data-")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def empty_database_url(request: pytest.FixtureRequest, servers_of_run: ServersOfRun, data_dir: Path) -> str:
    """DATABASE_URL of an empty database of the run's kind (TEST_DATABASE), for a process of ours."""
    if servers_of_run.database == "postgres":
        return request.getfixturevalue("postgres_database_url")
    return f"sqlite:///{data_dir / 'riskapp.sqlite3'}"


@pytest.fixture
def app_environment(empty_database_url: str, redis_url: str, data_dir: Path) -> dict[str, str]:
    """Environment of a separate process of ours, with an empty database, an empty Redis and its own DATA_DIR."""
    return os.environ | {
        "DATABASE_URL": empty_database_url,
        "REDIS_URL": redis_url,
        "DATA_DIR": str(data_dir),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DJANGO_SETTINGS_MODULE": "riskapp.settings",
    }


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[object]:
    """A headless Chromium (selenium WebDriver) that reaches nothing but this machine; mark the test `browser`."""
    from selenium import webdriver

    driver_log = tmp_path / "chromedriver.log"
    driver = webdriver.Chrome(
        options=_browser_options(tmp_path),
        service=webdriver.ChromeService(shutil.which("chromedriver"), log_output=str(driver_log)),
    )
    driver.set_page_load_timeout(30)
    yield driver
    driver.quit()


def _browser_options(profile: Path) -> object:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, NEEDED_COMMANDS["browser"][0])))
    options.add_argument("--headless=new")
    options.add_argument("--window-size=1440,900")
    options.add_argument(f"--user-data-dir={profile / 'profile'}")
    options.add_argument("--disable-dev-shm-usage")
    # A page that asks for anything from the internet must fail here, as it would at a bank.
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if os.geteuid() == 0:
        # Chromium's sandbox refuses root, which is who runs the tests in a container.
        options.add_argument("--no-sandbox")
    return options


def _starter(server_type: Callable[..., ServerProcess]) -> Iterator[Callable[..., ServerProcess]]:
    started: list[ServerProcess] = []

    def start(**options: bool) -> ServerProcess:
        server = server_type(**options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.close()
