"""The write-ahead log of a file is kept short while commits go on."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.product_source import ROOT

SCRIPT = """
import django, time
django.setup()
from django.db import connection
from scoring.decisions import checkpointer as module
module.INTERVAL_SECONDS = 0.1
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
