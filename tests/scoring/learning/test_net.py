"""A net is taken where it helps, left out where it does not, and is part of the artifact where it was taken."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from django.core.management import call_command

from scoring.learning import run as runs
from scoring.learning.artifact_folder import load_verified
from scoring.learning.metrics import average_precision
from scoring.learning.net import train_beside
from scoring.learning.net_parameters import NetParameters, NetWish
from scoring.learning.run import LearningConfig, carry_out
from scoring.learning.train import TrainingData, TrainParameters, train_from_scratch
from scoring.models import TrainingRun
from scoring.services.release_program import current_champion
from scoring.services.start_training import open_run
from tests.scoring.learning.ledger import add_history

NAMES = tuple(f"f{i}" for i in range(8))
SMALL = NetParameters(
    width=64, members=2, dense_steps=160, finishing_steps=40, batch_rows=256, good_share=1.0, sparsities=(0.5,), dropout=0.1,
    learning_rate=5e-3, weight_decay=0.01, fraud_weight=2.0, min_fit_frauds=30, min_tune_frauds=10, resamples=60, threads=1,
)  # fmt: skip
SHALLOW = TrainParameters(max_depth=2, learning_rate=0.2, first_trees_max=40, patience_trees=15, threads=1)
DEEP = TrainParameters(max_depth=4, learning_rate=0.1, first_trees_max=150, patience_trees=30, threads=1)


def no_check() -> None:
    pass


def rows(n: int, seed: int, of_one: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return rows whose frauds follow from a sum over all features, or from the first feature alone."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, len(NAMES))).astype(np.float32)
    strength = x[:, 0] if of_one else x.sum(axis=1) / 3 + 0.25 * generator.normal(size=n)
    return x, (strength > (1.5 if of_one else 1.2)).astype(np.int8)


def data_of(of_one: bool) -> TrainingData:
    fit, fit_labels = rows(6000, 1, of_one)
    tune, tune_labels = rows(3000, 2, of_one)
    return TrainingData(NAMES, fit, fit_labels, np.ones(len(fit), np.float32), tune, tune_labels)


def beside(data: TrainingData, trees: TrainParameters, wish: NetWish, **changes):
    forest = train_from_scratch(data, trees, no_check).forest
    return forest, train_beside(forest, data, replace(SMALL, **changes), wish, no_check)


def test_a_net_that_sees_more_than_the_forest_is_taken_and_ranks_unseen_rows_better():
    forest, trained = beside(data_of(of_one=False), SHALLOW, NetWish.IF_IT_HELPS)
    assert trained.figures["included"] and trained.figures["ap_gain"]["low"] > 0, trained.figures
    x, labels = rows(4000, 9, of_one=False)
    margins = forest.margins(x)
    columns = [NAMES.index(name) for name in trained.net.feature_names]
    blended = trained.blend.forest_weight * margins + trained.blend.net_weight * trained.net.logits(x[:, columns])
    assert average_precision(labels, blended) > average_precision(labels, margins) + 0.005
    probability = trained.calibration.probability(blended + trained.blend.offset)
    assert 0.7 < probability.mean() / labels.mean() < 1.4


def test_a_net_beside_a_forest_that_knows_everything_is_left_out():
    _, trained = beside(data_of(of_one=True), DEEP, NetWish.IF_IT_HELPS)
    assert (trained.net, trained.blend, trained.calibration) == (None, None, None)
    assert trained.figures["included"] is False and "left out" in trained.figures["reason"]


def test_training_twice_gives_the_same_net():
    data = data_of(of_one=False)
    (_, first), (_, second) = (beside(data, SHALLOW, NetWish.ALWAYS) for _ in range(2))
    np.testing.assert_array_equal(first.net.first, second.net.first)
    assert first.blend == second.blend


def test_with_too_few_frauds_no_net_is_trained():
    _, trained = beside(data_of(of_one=False), SHALLOW, NetWish.ALWAYS, min_tune_frauds=100_000)
    assert trained.net is None and "100000 needed" in trained.figures["reason"]


def test_pruning_that_loses_too_much_is_tried_with_fewer_zeros_and_then_left_alone():
    data = data_of(of_one=False)
    _, trained = beside(data, SHALLOW, NetWish.ALWAYS, sparsities=(0.999, 0.99), sparsity_loss=0.02)
    assert trained.figures["weights_zero"] == 0.0
    assert trained.net.layers[0].weight.any()


@pytest.mark.django_db
class TestRuns:
    @pytest.fixture
    def config(self, small_learning) -> LearningConfig:
        return replace(small_learning, net=SMALL)

    def run_now(self, config: LearningConfig) -> TrainingRun:
        add_history(rows=1500, days=30, fraud_rate=0.08)
        return carry_out(open_run("manual", actor="test").pk, config)

    def test_a_net_that_was_asked_for_is_part_of_the_released_program(self, artifact_dir, config):
        run = self.run_now(replace(config, net_wish=NetWish.ALWAYS))
        assert run.state == "promoted", run.reason
        assert run.figures["training"]["net"]["included"]
        program = load_verified(current_champion().artifact)
        assert program.net is not None and program.blend is not None
        x = np.random.default_rng(0).normal(size=(50, program.schema.width)).astype(np.float32)
        logits = program.net.logits(x[:, [program.schema.index(name) for name in program.net.feature_names]])
        blend = program.blend
        expected = blend.forest_weight * program.forest.margins(x) + blend.net_weight * logits + blend.offset
        np.testing.assert_allclose(program.run(x).margin, expected, atol=1e-4)
        np.testing.assert_allclose(runs._scores(program, x).margin, expected, atol=1e-4)

    def test_without_a_net_none_is_trained(self, artifact_dir, config):
        run = self.run_now(replace(config, net_wish=NetWish.NEVER))
        assert run.figures["training"]["net"] == {"included": False, "reason": "no net was asked for"}
        assert load_verified(current_champion().artifact).net is None

    def test_a_short_history_has_too_few_frauds_for_a_net_by_default(self, artifact_dir, small_learning):
        run = self.run_now(small_learning)
        assert "needed" in run.figures["training"]["net"]["reason"]
        assert load_verified(current_champion().artifact).net is None

    @pytest.mark.parametrize(
        ("arguments", "wish"),
        [((), NetWish.IF_IT_HELPS), (("--with-net",), NetWish.ALWAYS), (("--without-net",), NetWish.NEVER)],
    )
    def test_the_command_says_whether_a_net_is_wanted(self, artifact_dir, monkeypatch, arguments, wish):
        asked = []

        def remember(run_id: int, config: LearningConfig) -> TrainingRun:
            asked.append(config.net_wish)
            run = TrainingRun.objects.get(pk=run_id)
            run.figures = {"training": {"method": "x", "trees": 1, "fit_rows": 1, "seconds": 1.0, "net": {"reason": "as it is"}}}
            return run

        monkeypatch.setattr("scoring.management.commands.train.carry_out", remember)
        out = StringIO()
        call_command("train", *arguments, stdout=out)
        assert asked == [wish] and "net: as it is" in out.getvalue()
