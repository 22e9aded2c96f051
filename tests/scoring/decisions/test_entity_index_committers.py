"""The index by party where several processes commit: numbers come in another order than their rows."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.product_source import ROOT

# Runs in a process of its own: this run's database may be SQLite, and what is tested is PostgreSQL's.
SCENARIO = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
import time
from django.db import connection, transaction
import scoring.entity_index as entity_index
from scoring.entity_index import catch_up, find_decisions
from scoring.entity_segments import find_in_segment, hash_of
from scoring.models import Decision, EntityIndexGap, EntityIndexMark, EntitySegment
from tests.factories import build_decision, make_decision

def gaps():
    return sum(gap.last - gap.first + 1 for gap in EntityIndexGap.objects.all())

def indexed(card):
    return sorted(
        seq for row in EntitySegment.objects.filter(kind=2)
        for seq in find_in_segment(bytes(row.entries), row.first_seq, hash_of(card)).tolist()
    )

def found(card):
    return sorted(find_decisions({"card_id": card}).values_list("seq", flat=True))

entity_index._CHUNK_ROWS = 1
other = connection.copy()
def begin_elsewhere(card):
    "Take a number in another session and leave the commit open."
    other.set_autocommit(False)
    decision = build_decision(card_id=card)
    columns = [f for f in Decision._meta.concrete_fields if not f.primary_key]
    with other.cursor() as cursor:
        names = ",".join(f'"{f.column}"' for f in columns)
        marks = ",".join(["%s"] * len(columns))
        values = [f.get_db_prep_save(getattr(decision, f.attname), other) for f in columns]
        cursor.execute(f"INSERT INTO {Decision._meta.db_table} ({names}) VALUES ({marks}) RETURNING seq", values)
        return cursor.fetchone()[0]

# A smaller number that is committed after a larger one was indexed.
late = begin_elsewhere("slow")
early = make_decision(card_id="quick").seq
assert late < early
assert catch_up() == 1 and found("quick") == [early] and found("slow") == []
entity_index._GAP_SECONDS = 0.0
for _ in range(3):
    catch_up()
assert gaps() == 1, "as long as its transaction runs, the number may come"
other.commit()
assert found("slow") == [late] and indexed("slow") == [], "a reader sees what came into a gap"
assert catch_up() == 1 and indexed("slow") == found("slow") == [late]
assert gaps() == 0
assert catch_up() == 0

# One that is never committed is given up.
lost = begin_elsewhere("never")
make_decision(card_id="quick")
catch_up()
assert gaps() == 1
other.rollback()
catch_up()
assert gaps() == 0 and found("never") == []

# A gap is kept for a moment even where no transaction runs: a number is taken before its transaction has one.
entity_index._GAP_SECONDS = 3600.0
with connection.cursor() as cursor:
    cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'seq'))", [Decision._meta.db_table])
    taken = cursor.fetchone()[0]
make_decision(card_id="quick")
catch_up()
assert gaps() == 1
slow = build_decision(card_id="taken")
slow.seq = taken
slow.save(force_insert=True)
assert found("taken") == [taken] and catch_up() == 1 and found("taken") == indexed("taken") == [taken] and gaps() == 0

# Several gaps at once, some of them filled in parts, by small chunks.
entity_index._CHUNK_ROWS = 2
with connection.cursor() as cursor:
    cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'seq')) FROM generate_series(1, 5)", [Decision._meta.db_table])
    numbers = [row[0] for row in cursor.fetchall()]
make_decision(card_id="quick")
make_decision(card_id="quick")
catch_up()
assert gaps() == 5
for taken in numbers[1:4]:
    part = build_decision(card_id="part")
    part.seq = taken
    part.save(force_insert=True)
assert found("part") == numbers[1:4]
assert catch_up() == 3 and catch_up() == 0
assert found("part") == indexed("part") == numbers[1:4] and gaps() == 2
entity_index._GAP_SECONDS = 0.0
catch_up()
assert gaps() == 0
make_decision(card_id="quick")
entity_index._CHUNK_ROWS = 1
catch_up()
for card in ("quick", "slow", "never", "taken", "part"):
    wanted = list(Decision.objects.filter(card_id=card).order_by("seq").values_list("seq", flat=True))
    assert indexed(card) == found(card) == wanted, "nothing is left out, and nothing is there twice"
assert EntityIndexMark.objects.get().seq == Decision.objects.latest("seq").seq
print("ok")
"""


def test_numbers_that_are_committed_late_are_indexed(postgres_database_url, data_dir):
    environment = os.environ | {
        "DATABASE_URL": postgres_database_url,
        "DJANGO_SETTINGS_MODULE": "riskapp.settings",
        "DATA_DIR": str(data_dir),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCENARIO], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "ok", done.stderr
