"""A logged-in analyst, and pages that never come from the cache of the test before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import Client

from scoring.protection.guards import discard_guards
from tests.conftest import _browser_options
from tests.factories import make_analyst


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    cache.clear()


@pytest.fixture(autouse=True)
def no_attempts_yet() -> Iterator[None]:
    """Log-in attempts of the test before do not count."""
    discard_guards()
    yield
    discard_guards()


@pytest.fixture(autouse=True)
def cheap_passwords(settings) -> None:
    """Slow hashing is the point of a password hash, and not of these tests."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice(db):
    """An analyst without further permissions."""
    return make_analyst("alice")


@pytest.fixture
def page(alice, client: Client) -> Client:
    """A test client in which alice is logged in."""
    client.force_login(alice)
    return client


@pytest.fixture
def htmx(alice) -> Client:
    """A test client of alice's whose requests say that they come from htmx."""
    client = Client(headers={"HX-Request": "true"})
    client.force_login(alice)
    return client


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[object]:
    """The suite's headless Chromium, which here also writes down what it asks of the network."""
    from selenium import webdriver

    options = _browser_options(tmp_path)
    for part in ("background-networking", "component-update", "sync", "gpu"):
        options.add_argument(f"--disable-{part}")
    options.add_argument("--no-first-run")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"), log_output=str(tmp_path / "chromedriver.log"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(30)
    yield driver
    driver.quit()
