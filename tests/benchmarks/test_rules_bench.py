"""`make bench-rules` from end to end on few rules and rows, with the engines that the product's environment has."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.forest.case import Shape
from tests.benchmarks.rules import report, run
from tests.benchmarks.rules.case import GRID, RulesCase, columns_of, random_rows, random_rules
from tests.benchmarks.rules.fused import FUSED, FUSED_ENGINES
from tests.benchmarks.rules.generated import GENERATED_C, PYTHON, open_c, python_function
from tests.benchmarks.rules.measure import Effort, measure_rules
from tests.benchmarks.rules.ours import OURS, open_ours, unpacked
from tests.benchmarks.rules.peers import open_numpy
from tests.benchmarks.side_by_side.engines import Way, open_engines

EFFORT = Effort(calls=40, call_seconds=5.0, events=10, batch_rows=3000, rounds=2, round_seconds=0.2)


@pytest.fixture(scope="module")
def document():
    # 70 rules need two words; XGBoost is in the product's environment, the other model servers are not.
    return run.run_benchmark((3, 70), Shape(10, 3, 24), EFFORT, training_rows=500)


@pytest.fixture
def case(tmp_path):
    return RulesCase(random_rules(70), tmp_path)


def test_ours_and_the_generated_sources_agree_and_are_measured(document):
    for measured in document["cases"]:
        assert {OURS, PYTHON, "NumPy"} <= {c["engine"] for c in measured["one_event"]}
        assert all(measured["agrees"][name] for name in (OURS, PYTHON, "NumPy"))
        assert 0 < measured["hits_per_row"] < measured["rules"]
        assert {(OURS, 1), (OURS, 2)} <= {(c["engine"], c["threads"]) for c in measured["batch"]}
    assert report.all_agree(document)


@pytest.mark.needs_compiler
def test_generated_c_agrees(case):
    (way,) = open_c(case).ways[1]
    x = random_rows(2500, seed=9)
    assert (way.read(way.make(x)()) == case.hits(x)).all()


def test_engines_that_are_not_installed_are_named(document):
    try:
        import polars
    except ModuleNotFoundError:
        assert all("polars" in {f["name"] for f in measured["failed"]} for measured in document["cases"])
        assert "FAILED: polars" in report.markdown(document)
        assert report.summary(document)["polars_rows_per_s"] is None
    else:
        assert polars.__version__


def test_rules_forest_and_reasons_in_one_call(document):
    fused = document["fused"]
    engines = {e["name"]: e for e in fused["engines"]}
    assert engines[FUSED]["reasons"] and engines["XGBoost contributions + generated Python"]["reasons"]
    assert not engines["XGBoost + generated Python"]["reasons"]
    assert {c["engine"] for c in fused["one_event"]} == set(engines)
    assert max(fused["max_margin_diff"].values()) < 1e-4
    assert len(engines) + len({f["name"] for f in fused["failed"]}) == len(FUSED_ENGINES)


def test_hits_that_differ_are_found_and_fail_the_run(case):
    def lying(of):
        engine = open_numpy(of)
        (way,) = engine.ways[1]

        def make(x):
            call = way.make(x)
            return lambda: call() ^ (np.arange(len(of.rules)) == 5)[:, None]

        return replace(engine, name="liar", ways={1: (Way("one rule turned round", make, way.read),)})

    lineup = open_engines((("ours", open_ours), ("liar", lying)), case)
    measured = measure_rules(case, lineup, replace(EFFORT, batch_rows=100), lambda text: None)
    assert measured["agrees"] == {OURS: True, "liar": False}
    assert [(f["name"], "2000 of 140000 hits differ" in f["error"]) for f in measured["failed"]] == [("liar", True)]
    assert not report.all_agree({"cases": [measured], "fused": None})


def test_the_last_line_and_the_tables_come_from_the_file_alone(document, tmp_path, capsys):
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(document))
    assert run.main(["--table", str(file)]) == 0
    assert capsys.readouterr().out.strip() == report.markdown(document).strip()
    last = report.summary(json.loads(file.read_text()))
    assert last["fused_one_row_us"] > 0 and last["all_agree"]
    assert last["rules_rows_per_s_1t"] is None  # 50 rules were not measured here


def test_losses_are_kept_and_the_ceiling_is_no_peer():
    def event(name, p50):
        return {"engine": name, "p50_us": p50}

    def batch(name, threads, rate):
        return {"engine": name, "threads": threads, "median_rows_per_s": rate}

    measured = {
        "rules": 50, "one_event": [event(OURS, 3.0), event(PYTHON, 1.0), event(GENERATED_C, 0.5)],
        "batch": [batch(OURS, 1, 10), batch("NumPy", 1, 9), batch(GENERATED_C, 1, 99), batch(OURS, 2, 20),
                  batch("polars", 2, 30)],
    }  # fmt: skip
    fused = {"one_event": [event(FUSED, 5.0), event("both", 6.0)]}
    found = report.losses({"cases": [measured], "fused": fused})
    assert [(f["engine"], f["peer"], f["ours"]) for f in found] == [(PYTHON, 1.0, 3.0), ("polars", 30, 20)]


def test_rules_and_rows_meet_on_the_boundary_and_are_exact_in_float32(case):
    constants = np.array([c.constant for rule in case.rules for c in rule])
    assert (constants / GRID == np.round(constants / GRID)).all() and (constants == constants.astype(np.float32)).all()
    x = random_rows(20_000, seed=2)
    assert any((x[:, c.feature] == np.float32(c.constant)).any() for rule in case.rules for c in rule)
    assert all(len({c.feature for c in rule}) == 3 for rule in case.rules)


def test_columns_are_not_copied():
    x = random_rows(100)
    assert all(np.shares_memory(column, x) for column in columns_of(x, [f"f{i}" for i in range(x.shape[1])]).values())


def test_words_are_unpacked_by_rule():
    words = np.array([[1, 2], [1 << 63, 0]], np.uint64)
    assert np.argwhere(unpacked(words, 70)).tolist() == [[0, 0], [0, 65], [1, 63]]


def test_the_generated_function_is_plain_python(case):
    rules = python_function(case)
    x = random_rows(50, seed=3)
    assert [rules(*row) for row in x.tolist()] == case.hits(x).tolist()
