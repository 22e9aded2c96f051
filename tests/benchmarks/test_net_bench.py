"""The benchmark of the net: what it stores comes back, what it counts is right, and a fold runs through all stages."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference_core.modalities import FinishingPlan, NetShape, TabularNet, export_net
from scoring.learning.metrics import average_precision
from tests.benchmarks.net.bytes import bytes_of
from tests.benchmarks.net.fold_run import FoldRun, StageFigures, _Judge, _representatives, run_fold
from tests.benchmarks.net.prepared import PreparedFold, load_fold, save_folds
from tests.benchmarks.net.recipe import NetRecipe, read_chosen
from tests.benchmarks.net.report import bytes_table, figures_table, last_line
from tests.benchmarks.net.summary import AP, AUC, DENSE, FINISHED, FOREST, INT8, PRUNED, TRAINED_ON, Runs
from tests.inference_core.modalities.small import ENCODING, SHAPE, TRAINING, rows_of

RECIPE = NetRecipe(
    "all", 1.0, SHAPE, replace(TRAINING, epochs=4), FinishingPlan(epochs=2, sparsity=0.5), net_share=0.5, threshold_loss=0.01
)


def fold() -> PreparedFold:
    fit, fit_labels = rows_of(1500, 1)
    test, test_labels = rows_of(800, 2)
    generator = np.random.default_rng(0)
    return PreparedFold(
        "week", 80, ENCODING, ENCODING.bins(fit), fit_labels, np.ones(1500, np.float32), ENCODING.bins(test), test_labels,
        generator.integers(0, 60, 800), generator.integers(0, 7, 800), np.nan_to_num(test[:, 0]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def run() -> FoldRun:
    return run_fold(fold(), RECIPE, 1, torch.device("cpu"), controls=True)


def test_a_prepared_fold_comes_back(tmp_path):
    save_folds([fold()], tmp_path)
    again = load_fold(tmp_path / "week-80.npz")
    assert (again.name, again.encoding.feature_names) == ("week-80", ENCODING.feature_names)
    for a, b in zip(again.encoding.edges, ENCODING.edges, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(again.test_bins, fold().test_bins)


def test_the_chosen_recipes_are_what_their_json_says():
    for recipe in (*read_chosen().values(), RECIPE):
        assert NetRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert set(read_chosen()) == {"week", "history"}


def test_a_fold_runs_through_all_stages(run):
    assert list(run.stages)[:2] == [FOREST, DENSE] and {PRUNED, INT8, TRAINED_ON, FINISHED} <= set(run.stages)
    assert run.stages[FINISHED].net[AUC] > 0.8
    assert run.stages[FINISHED].blend != run.stages[FINISHED].net != run.stages[FOREST].net
    assert run.bytes["int8 pruned"] < run.bytes["float32 pruned"] < run.bytes["float32"]
    assert 0 <= run.quads_skipped <= run.multiplications_skipped <= 1
    assert json.loads(json.dumps(run.to_json()))["stages"][FOREST]["net"][AP] == run.stages[FOREST].net[AP]


def test_without_controls_nothing_is_trained_for_comparison(run):
    short = run_fold(fold(), RECIPE, 1, torch.device("cpu"), controls=False)
    assert INT8 not in short.stages and short.flips_per_million is None
    assert short.stages[FINISHED] == run.stages[FINISHED]


def test_representatives_have_the_bins_that_they_stand_for():
    of = fold()
    np.testing.assert_array_equal(ENCODING.bins(_representatives(of, of.test_bins)), of.test_bins)


def test_flips_are_counted_at_the_threshold_of_the_exact_blend():
    judge = _Judge(fold(), 1.0)
    exact = np.arange(800.0)
    swapped = exact.copy()
    swapped[[799, 3]] = swapped[[3, 799]]
    assert judge.flips(exact, exact) == 0
    assert judge.flips(exact, swapped) == pytest.approx(2 / 800 * 1e6)


def test_bytes_count_every_parameter_and_the_index():
    net = TabularNet(ENCODING, NetShape(64, (64,), 2), 1)
    net.calibrate(torch.from_numpy(fold().test_bins))
    with torch.no_grad():
        net.weights[0][:, 1:] = 0
    found = bytes_of(net, export_net(net))
    count = sum(p.numel() for p in net.parameters())
    assert found["float32"] == 4 * count
    # hidden: 64 values with 6 bits for the gap before each, their width and the shape; increments: one bit each, and the shape
    index = (64 * 6 // 8 + 1 + 8) + (net.increments.numel() // 8 + 8)
    assert found["float32"] - found["float32 pruned"] == 64 * 63 * 4 - index
    expanded = sum(len(of) + 1 for of in ENCODING.edges) * 64
    assert found["int8"] == expanded + 64 * 64 + 2 * (64 * 8 + 64 * 8 + 64)


def test_means_weigh_folds_alike_and_losses_are_relative(run):
    def shifted(name: str, seed: int, by: float) -> FoldRun:
        stages = {stage: StageFigures(tuple(x + by for x in of.net), of.blend) for stage, of in run.stages.items()}
        return replace(run, fold=name, seed=seed, stages=stages)

    runs = Runs([shifted("week-80", 1, 0.0), shifted("week-80", 2, 0.1), shifted("week-87", 1, 0.2)], "week")
    base = run.stages[DENSE].net[AP]
    estimate = runs.figure(DENSE, AP, blended=False)
    assert estimate.mean == pytest.approx(base + (0.05 + 0.2) / 2)
    assert estimate.low <= estimate.mean <= estimate.high
    mean = (0.0 + 0.1 + 0.2) / 3
    expected = 1 - (run.stages[PRUNED].net[AP] + mean) / (base + mean)
    assert runs.relative_loss(PRUNED, DENSE, blended=False) == pytest.approx(expected)
    assert not Runs([run], "history")


def test_the_report_tells_every_stage_and_ends_in_json(run):
    runs = {"week": Runs([run], "week"), "history": Runs([], "history")}
    table = figures_table(runs)
    assert all(f"{stage}, 7 training days" in table for stage in run.stages if stage != FOREST)
    assert "balanced bagging (published)" in table and "int8 pruned" in bytes_table(runs)
    told = json.loads(last_line(runs, {"program_one_row_us": 1.5}, 2.0))
    assert told["ap_7d"] == round(run.stages[FINISHED].blend[AP], 5) and told["program_one_row_us"] == 1.5
    assert told["forest_ap_7d"] == round(run.stages[FOREST].net[AP], 5)
    assert average_precision(fold().test_labels, fold().forest_margins) == pytest.approx(told["forest_ap_7d"], abs=1e-5)
