"""`make bench-forest` from end to end on a tiny forest, with the engines that the product's environment has."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.forest import report, run
from tests.benchmarks.forest.case import Shape, train_case
from tests.benchmarks.forest.measure import Effort, margin_differences
from tests.benchmarks.forest.ours import OURS, OURS_WITH_CONTRIBUTIONS, open_ours
from tests.benchmarks.forest.peers import open_xgboost, refuse_long_compiling
from tests.benchmarks.side_by_side.engines import LeftOut, Way, open_engines

TINY = Shape(12, 3, 6)
EFFORT = Effort(60, 5.0, (0.0, 0.05), ((0.0, 40), (0.05, 7)), (1, 2), rounds=2, round_seconds=0.2)


def broken(case):
    raise RuntimeError("this peer does not run here")


@pytest.fixture(scope="module")
def document():
    openers = (*run.OUR_ENGINES, ("XGBoost", open_xgboost), ("broken", broken))
    return run.run_benchmark([(TINY, EFFORT)], openers, training_rows=500)


@pytest.fixture
def case(tmp_path):
    return train_case(TINY, tmp_path, rows=500)


def test_every_engine_is_measured_on_every_cell(document):
    (measured,) = document["cases"]
    engines = {OURS, OURS_WITH_CONTRIBUTIONS, "XGBoost"}
    assert {(c["engine"], c["missing"]) for c in measured["one_row"]} == {(e, m) for e in engines for m in (0.0, 0.05)}
    cells = {(c["engine"], c["missing"], c["rows"], c["threads"]) for c in measured["batch"]}
    assert cells == {(e, *batch, t) for e in engines for batch in EFFORT.batches for t in (1, 2)}
    assert all(c["setting"] for c in (*measured["one_row"], *measured["batch"]))
    assert all(0 < c["p50_us"] <= c["p99_us"] <= c["p999_us"] and c["calls"] == 60 for c in measured["one_row"])


def test_margins_are_compared_with_xgboosts(document):
    (measured,) = document["cases"]
    assert measured["max_margin_diff"]["XGBoost"] == 0.0
    assert measured["max_margin_diff"][OURS] < 1e-5


def test_a_peer_that_fails_is_named_and_ours_counts(document):
    (measured,) = document["cases"]
    assert measured["failed"] == [{"name": "broken", "stage": "open", "error": "RuntimeError: this peer does not run here"}]
    assert report.summary(document)["peers_failed"] == ["broken"]
    assert "FAILED: broken" in report.markdown(document)


def test_the_last_line_has_the_figures_that_were_asked_for(document):
    last = report.summary(json.loads(json.dumps(document)))
    wanted = {"one_row_us", "batch_rows_per_s_2t", "xgboost_batch_rows_per_s_2t", "max_margin_diff"}
    assert all(last[name] is not None for name in wanted)
    # Not in the product's environment: absent, and not made up.
    assert last["daal4py_batch_rows_per_s_2t"] is None and last["onnxruntime_one_row_us"] is None


def test_tables_come_from_the_file_alone(document, tmp_path, capsys):
    file = tmp_path / "forest.json"
    file.write_text(json.dumps(document))
    assert run.main(["--table", str(file)]) == 0
    assert capsys.readouterr().out.strip() == report.markdown(document).strip()


def test_losses_are_kept():
    ours = {"engine": OURS, "missing": 0.0, "p50_us": 3.0}
    slower = {"engine": "slower", "missing": 0.0, "p50_us": 4.0}
    faster = {"engine": "faster", "missing": 0.0, "p50_us": 2.0}
    batch = {"missing": 0.0, "rows": 16, "threads": 2}
    cells = [{"engine": OURS, **batch, "median_rows_per_s": 10}, {"engine": "wide", **batch, "median_rows_per_s": 11}]
    found = report.losses({"cases": [{"trees": 1, "depth": 2, "features": 3, "one_row": [ours, slower, faster], "batch": cells}]})
    assert [(f["engine"], f["peer"], f["ours"]) for f in found] == [("faster", 2.0, 3.0), ("wide", 11, 10)]


def test_an_engine_with_other_margins_is_named(case):
    def wrong(of):
        engine = open_xgboost(of)
        off_by_one = Way("off", lambda x: lambda: of.margins(x) + np.float32(1))
        return replace(engine, name="wrong", ways={1: (*engine.ways[1], off_by_one)})

    lineup = open_engines((("ours", open_ours), ("wrong", wrong)), case)
    found = margin_differences(case, lineup)
    assert found["wrong"] == pytest.approx(1.0, abs=1e-3)
    assert [(f.name, f.stage) for f in lineup.failed] == [("wrong", "margins")]


def test_the_forest_with_identity_link_has_the_margins_of_the_trained_one(case):
    import xgboost

    model = json.loads(case.model)
    assert model["learner"]["objective"]["name"] == "reg:squarederror"
    # Put the link back: its log-odds are the same numbers.
    base = float(model["learner"]["learner_model_param"]["base_score"].strip("[]"))
    model["learner"]["learner_model_param"]["base_score"] = f"[{1 / (1 + math.exp(-base))!r}]"
    model["learner"]["objective"] = {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}}
    x = case.rows(200, 0.05)
    logistic = xgboost.Booster(model_file=bytearray(json.dumps(model).encode()))
    np.testing.assert_allclose(case.margins(x), logistic.inplace_predict(x, predict_type="margin"), atol=1e-6)


def test_peers_that_would_compile_for_minutes_are_left_out_with_the_reason(case):
    with pytest.raises(LeftOut, match="ARGS=--full"):
        refuse_long_compiling(case, limit=case.nodes - 1)
    refuse_long_compiling(case, limit=case.nodes)
    refuse_long_compiling(case, limit=None)


def test_the_grid_begins_with_the_headline_and_is_whole():
    assert run.GRID[0] == run.HEADLINE and len(set(run.GRID)) == len(run.GRID) == 27
