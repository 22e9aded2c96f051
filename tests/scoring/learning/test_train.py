"""Training is repeatable, continues the champion where it should, and is calibrated on rows that no tree saw."""

from dataclasses import replace

import numpy as np
import pytest
import xgboost

from scoring.learning.metrics import average_precision
from scoring.learning.train import TrainingData, TrainParameters, train_from_scratch, train_increment

NAMES = tuple(f"f{i}" for i in range(6))
SMALL = TrainParameters(max_depth=3, first_trees_max=40, added_trees_max=10, max_trees=60, patience_trees=10, threads=1)


def no_check() -> None:
    pass


def rows(n: int, seed: int, signal: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, len(NAMES))).astype(np.float32)
    features[generator.random(features.shape) < 0.05] = np.nan
    strength = np.nan_to_num(features[:, signal]) + np.nan_to_num(features[:, 1]) + 0.5 * generator.normal(size=n)
    return features, (strength > 2.2).astype(np.int8)


def training_data(seed: int, signal: int = 0, fit_rows: int = 3000) -> TrainingData:
    fit, fit_labels = rows(fit_rows, seed, signal)
    tune, tune_labels = rows(2000, seed + 1, signal)
    return TrainingData(NAMES, fit, fit_labels, np.ones(fit_rows, np.float32), tune, tune_labels)


@pytest.fixture(scope="module")
def champion():
    return train_from_scratch(training_data(seed=1), SMALL, no_check)


def precision_on(forest, signal: int) -> float:
    features, labels = rows(4000, seed=99, signal=signal)
    return average_precision(labels, forest.margins(features))


def test_training_twice_gives_the_same_bytes(champion):
    again = train_from_scratch(training_data(seed=1), SMALL, no_check)
    assert again.model_ubj == champion.model_ubj
    assert again.calibration == champion.calibration


def test_the_model_ranks_unseen_rows(champion):
    assert precision_on(champion.forest, signal=0) > 0.6
    assert 1 <= champion.forest.tree_count <= SMALL.first_trees_max


def test_our_forest_gives_xgboosts_margins(champion):
    features, _ = rows(500, seed=5)
    booster = xgboost.Booster()
    booster.load_model(bytearray(champion.model_ubj))
    expected = booster.predict(xgboost.DMatrix(features, feature_names=list(NAMES)), output_margin=True)
    np.testing.assert_allclose(champion.forest.margins(features), expected, atol=1e-5)


def test_probabilities_mean_what_they_say_on_unseen_rows(champion):
    features, labels = rows(6000, seed=7)
    probability = champion.calibration.probability(champion.forest.margins(features))
    assert probability.mean() == pytest.approx(labels.mean(), rel=0.2)


def test_an_increment_keeps_the_champions_trees_and_adds_some(champion):
    increment = train_increment(champion.model_ubj, training_data(seed=20), SMALL, no_check)
    added = increment.forest.tree_count - champion.forest.tree_count
    assert 1 <= added <= SMALL.added_trees_max
    assert increment.figures["champion_trees"] == champion.forest.tree_count
    assert set(increment.figures["tune_ap_by_method"]) == {"continued", "refreshed"}
    splits_before = _first_splits(champion.model_ubj)
    assert _first_splits(increment.model_ubj)[: len(splits_before)] == splits_before


def test_an_increment_learns_a_pattern_that_the_champion_does_not_know(champion):
    before = precision_on(champion.forest, signal=3)
    increment = train_increment(champion.model_ubj, training_data(seed=30, signal=3), SMALL, no_check)
    assert precision_on(increment.forest, signal=3) > before + 0.1


def test_refreshed_leaves_win_when_the_pattern_is_turned_around(champion):
    data = training_data(seed=40)
    turned = replace(data, fit_features=-data.fit_features, tune_features=-data.tune_features)
    increment = train_increment(champion.model_ubj, turned, SMALL, no_check)
    assert increment.figures["method"] == "refreshed"


def test_a_row_counts_as_often_as_its_weight_says(champion):
    data = training_data(seed=1)
    heavy = replace(data, fit_weights=np.where(data.fit_labels == 1, 10, 1).astype(np.float32))
    shifted = train_from_scratch(heavy, SMALL, no_check)
    probe, _ = rows(2000, seed=5)
    # Ten times the odds of fraud are log(10) = 2.3 more in the margin, less where the fit is regularised.
    shift = shifted.forest.margins(probe).mean() - champion.forest.margins(probe).mean()
    assert 0.7 < shift < 3.0


def test_training_can_be_stopped_between_two_trees():
    class Stop(Exception):
        pass

    rounds = []

    def stop_at_the_third() -> None:
        rounds.append(1)
        if len(rounds) == 3:
            raise Stop

    with pytest.raises(Stop):
        train_from_scratch(training_data(seed=1), SMALL, stop_at_the_third)
    assert len(rounds) == 3


def test_a_forest_may_grow_up_to_the_limit():
    assert SMALL.may_grow(50)
    assert not SMALL.may_grow(51)


def _first_splits(model_ubj: bytes) -> list[str]:
    booster = xgboost.Booster()
    booster.load_model(bytearray(model_ubj))
    return [tree.split("]")[0] for tree in booster.get_dump()]
