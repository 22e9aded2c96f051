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


UNDER_LOAD = """
import os, threading, time
import django
django.setup()
from django.db import connection
from scoring.decisions import checkpointer as module
from scoring.turns import ledger_turn

module.LONG_LOG_PAGES = 100
stopping = threading.Event()

def commit_all_the_time():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE filler (content BLOB)")
        while not stopping.is_set():
            with ledger_turn():
                cursor.execute("INSERT INTO filler VALUES (zeroblob(20000))")
    connection.close()

writer = threading.Thread(target=commit_all_the_time)
writer.start()
before, pages, until = 0, 0, time.monotonic() + 30
while pages >= before and time.monotonic() < until:
    module.keep_log_short()
    before, pages = pages, module._checkpoint()
print("anew" if pages < before else "longer and longer", flush=True)
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
    assert done.stdout.strip() == "anew"


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
