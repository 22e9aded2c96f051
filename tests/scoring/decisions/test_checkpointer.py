"""The write-ahead log of a file is kept short while commits go on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scoring.decisions import checkpointer as module
from scoring.turns import ledger_turn
from tests.product_source import ROOT

SCRIPT = """
import django, time
django.setup()
from django.db import connection
from scoring.decisions import checkpointer as module
module.LEAST_SECONDS = module.MOST_SECONDS = 0.1
checkpointer = module.Checkpointer()
checkpointer.start()
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE filler (content BLOB)")
    cursor.execute("INSERT INTO filler VALUES (zeroblob(1000000))")
time.sleep(1)
checkpointer.stop()
print("done", flush=True)
time.sleep(60)
"""


def test_committed_pages_reach_the_database_file_without_a_commit_doing_it(tmp_path):
    database = tmp_path / "ledger.sqlite3"
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "riskapp.settings",
        "DATABASE_URL": f"sqlite:///{database}",
        "DATA_DIR": str(tmp_path),
    }
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().strip() == "done"
        # The process still holds the file open: closing it would have written the log back in any case.
        assert database.stat().st_size > 1_000_000
    finally:
        process.kill()
        process.wait()


# A reader looks on during each turn from before its commit: no copy gets past that commit until the turn is over, as none
# gets past a commit that overtakes it. Between two turns a copy can be complete, and those last a twentieth of the time.
UNDER_LOAD = """
import os, sqlite3, threading, time
import django
django.setup()
from django.db import connection
from scoring.decisions import checkpointer as module
from scoring.decisions.shared_store import database_file
from scoring.turns import ledger_turn

module.LONG_LOG_PAGES = 100
commits, stopping = threading.Semaphore(0), threading.Event()

def commit_all_the_time():
    reader = sqlite3.connect(database_file(), isolation_level=None)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE filler (content BLOB)")
        while not stopping.is_set():
            with ledger_turn():
                reader.execute("BEGIN")
                reader.execute("SELECT content FROM filler LIMIT 1").fetchall()
                cursor.execute("INSERT INTO filler VALUES (zeroblob(200000))")
                time.sleep(0.02)
                reader.execute("ROLLBACK")
            commits.release()
            time.sleep(0.001)

def begins_anew():
    wait_for_commits(10)
    pages = module.keep_log_short()
    wait_for_commits(3)
    return module._checkpoint() < pages

def wait_for_commits(count):
    while commits.acquire(blocking=False):
        pass
    for _ in range(count):
        commits.acquire()

writer = threading.Thread(target=commit_all_the_time)
writer.start()
print([begins_anew() for _ in range(3)], flush=True)
stopping.set()
writer.join()
os._exit(0)
"""


def test_the_log_begins_anew_while_commits_go_on(tmp_path):
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "riskapp.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
        "DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", UNDER_LOAD], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[True, True, True]"


@pytest.mark.parametrize(("pages", "turns"), [(99, [False]), (100, [False, False, True])])
def test_commits_wait_for_the_last_copy_alone_and_only_where_the_log_is_long(monkeypatch, pages, turns):
    held, synced = [], []

    def copy() -> int:
        held.append(ledger_turn()._is_owned())
        return pages

    monkeypatch.setattr(module, "LONG_LOG_PAGES", 100)
    monkeypatch.setattr(module, "_checkpoint", copy)
    monkeypatch.setattr(module, "_descriptor", lambda path: 3)
    monkeypatch.setattr(module.os, "fsync", lambda database: synced.append(len(held)))
    assert module.keep_log_short() == pages
    assert held == turns and synced == list(range(1, len(turns))), "each copy is on disk before the next begins"


@pytest.mark.parametrize(
    ("pages", "seconds", "pause"), [(0, 2.0, 5.0), (8_000, 2.0, 4.096), (40_000, 2.0, 2.0), (16_384, 4.0, 4.0)]
)
def test_the_pause_is_as_long_as_the_log_takes_to_get_long(pages, seconds, pause):
    assert module.pause_for(pages, seconds) == pytest.approx(pause)
