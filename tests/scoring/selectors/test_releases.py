"""Releases and runs, with what their gates compared."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scoring.selectors.releases import champion, champion_version, releases, roll_back_target, training_runs
from tests.factories import NOON, gate_figures, make_release, make_run

pytestmark = pytest.mark.django_db


def test_comparison_of_a_promoted_run():
    make_run("one", figures=gate_figures(0.71, 0.73) | {"training": {"trees": 300}})
    (row,) = training_runs()
    comparison = row.comparison
    assert comparison.champion_ap.value == 0.71 and comparison.challenger_ap.low == pytest.approx(0.69)
    assert comparison.difference.value == pytest.approx(0.02)
    assert [check.passed for check in comparison.checks] == [True, True]
    assert row.seconds == pytest.approx(43.2)


def test_a_first_model_is_compared_with_nobody():
    make_run("first", figures=gate_figures(None, 0.68))
    comparison = training_runs()[0].comparison
    assert comparison.champion_ap is None and comparison.difference is None
    assert comparison.champion_cost_minor is None


def test_a_run_that_never_came_to_its_gate():
    make_run("running", "running", figures={"data": {"fit": 100}}, finished_at=None)
    (row,) = training_runs()
    assert row.comparison is None and row.seconds is None


def test_newest_first():
    for name in ("a", "b", "c"):
        make_release(name)
        make_run(name)
    assert [row.release.version for row in releases(2)] == ["c", "b"]
    assert [row.run.slot for row in training_runs(2)] == ["c", "b"]


def test_target_of_a_roll_back_is_the_champion_before():
    make_release("first", promoted_at=NOON)
    make_release("second", promoted_at=NOON + timedelta(days=1))
    make_release("withdrawn", promoted_at=None)
    serving = make_release("serving", "champion", promoted_at=NOON + timedelta(days=2))
    assert champion() == serving and champion_version() == "serving"
    assert roll_back_target(serving).version == "second"


def test_without_a_champion_there_is_no_target():
    make_release("first", promoted_at=NOON)
    assert champion() is None and champion_version() is None and roll_back_target(None) is None
