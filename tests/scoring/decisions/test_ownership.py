"""One engine a database."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from django.db import connection

from scoring.decisions.ownership import claim_database, release_database
from tests.product_source import ROOT

pytestmark = [pytest.mark.any_database, pytest.mark.django_db(transaction=True)]
CLAIM = """
import django, sys; django.setup()
from django.conf import settings
settings.STATE_STORE, settings.STATE_STORE_URL = sys.argv[2], sys.argv[3]
from django.db import connections
connections["default"].settings_dict["NAME"] = sys.argv[1]
from scoring.decisions.ownership import claim_database
from scoring.errors import EngineUnavailable
try:
    claim_database()
    print("claimed")
except EngineUnavailable as error:
    print("refused", error)
"""


def another_process(store: str = "local", url: str = "redis://one:6379/0") -> str:
    """Let another process claim this test's database, and return what it said."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "riskapp.settings"}
    name = str(connection.settings_dict["NAME"])
    done = subprocess.run(
        [sys.executable, "-c", CLAIM, name, store, url], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _released():
    yield
    release_database()


def test_a_second_process_is_refused_and_told_why():
    claim_database()
    claim_database()  # harmless to repeat
    assert another_process().startswith("refused another process decides on this database already")
    release_database()
    assert another_process() == "claimed", "and it is free again when that one has ended"
    claim_database()


def test_what_was_not_claimed_can_be_released():
    release_database()
    assert another_process() == "claimed"


def test_the_claim_is_the_process_s_whatever_thread_made_it():
    """The engine's thread may end and be started again."""
    thread = threading.Thread(target=claim_database)
    thread.start()
    thread.join(20)
    claim_database()
    assert another_process().startswith("refused")


@pytest.fixture
def share(settings):
    """`share(url)`: this process shares its windows through that Redis."""

    def set_to(url: str = "redis://:secret@one:6379/0") -> None:
        settings.STATE_STORE, settings.STATE_STORE_URL = "redis", url

    return set_to


def test_processes_that_share_a_log_decide_together(share):
    share()
    claim_database()
    assert another_process("redis") == "claimed", "whatever password it uses"
    assert another_process("redis") == "claimed"


@pytest.mark.parametrize("url", ["redis://two:6379/0", "redis://one:6380/0", "redis://one:6379/1"])
def test_another_log_is_refused(share, url):
    share()
    claim_database()
    assert another_process("redis", url).startswith("refused other processes decide on this database with another")


def test_one_that_shares_and_one_that_does_not_exclude_each_other(share):
    claim_database()
    assert another_process("redis").startswith("refused another process decides")
    release_database()
    share()
    claim_database()
    assert another_process("local").startswith("refused another process decides")


def test_a_log_that_nobody_shares_any_more_is_forgotten(share):
    share()
    claim_database()
    release_database()
    assert another_process("redis", "redis://two:6379/0") == "claimed"
    claim_database()
