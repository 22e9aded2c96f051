"""Faults on the real processes, on SQLite and on PostgreSQL at the same time; `make chaos` does many more."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.chaos.faults import Faults
from tests.chaos.plan import KINDS, plan_faults
from tests.chaos.stack import POSTGRES, SQLITE
from tests.product_source import ROOT

FAULTS, SEED = 64, 20


def test_a_plan_follows_from_its_seed_and_begins_with_every_kind():
    for database in (SQLITE, POSTGRES):
        plan = plan_faults(200, 7, database)
        assert plan == plan_faults(200, 7, database) != plan_faults(200, 8, database)
        assert plan[:50] == plan_faults(50, 7, database)
        kinds = {kind.name for kind in KINDS if kind.only in (None, database)}
        assert {fault.kind for fault in plan[: len(kinds)]} == kinds


def test_every_kind_of_fault_can_be_carried_out():
    class Stack:
        """Faults looks at a stack only when it carries one out."""

    assert {kind.name for kind in KINDS} <= Faults(Stack(), seed=1)._kinds.keys()  # type: ignore[arg-type]


@pytest.mark.slow
def test_no_acknowledged_decision_is_lost_doubled_or_changed():
    command = [sys.executable, "-m", "tests.chaos", "--faults", str(FAULTS), "--seed", str(SEED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    print(done.stdout, done.stderr)
    result = json.loads(done.stdout.rstrip().splitlines()[-1])
    assert done.returncode == 0 and result["verdict"] == "green"
    assert (result["faults"], result["lost"], result["doubled"], result["changed"]) == (FAULTS, 0, 0, 0)
    assert result["acknowledged"] > 10 * FAULTS and result["unknown"] > 0, "the faults must have hit something"
