"""Fitting a forest: from scratch, or by continuing the champion.

An increment keeps the champion's trees. On the fit rows (the overlapping window, with replayed frauds and a reservoir of
the rest) it builds two versions and keeps the one that ranks the tune period better:
  continued   the champion's trees as they are, and new trees on top;
  refreshed   the same, after the leaves of the champion's trees were recomputed on the fit rows.
Refreshing follows a shift in the fraud rate or in an old pattern at once, but forgets what neither window nor replay
holds; so it has to earn its place each time.

A forest that would grow beyond `max_trees` is to be trained from scratch instead (`TrainParameters.may_grow`): serving
time grows with each tree, and the oldest trees correct errors that later ones have long replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import xgboost

from scoring.engine import Calibration, Forest, fit_platt
from scoring.learning.metrics import average_precision, brier


@dataclass(frozen=True, slots=True)
class TrainParameters:
    """How trees are grown; rates and shares are dimensionless."""

    max_depth: int = 6
    learning_rate: float = 0.1
    min_child_weight: float = 3.0  # sum of hessians
    row_share: float = 0.8
    feature_share: float = 0.5
    l2: float = 2.0
    max_bins: int = 64
    first_trees_max: int = 400
    added_trees_max: int = 40
    max_trees: int = 800
    patience_trees: int = 20
    threads: int = 2
    seed: int = 7

    def may_grow(self, champion_trees: int) -> bool:
        """Return whether a forest of this size has room for one more increment."""
        return champion_trees + self.added_trees_max <= self.max_trees

    def booster(self) -> dict:
        """Return XGBoost's names for these."""
        return {
            "objective": "binary:logistic",
            "tree_method": "hist",
            # The last one named decides when to stop.
            "eval_metric": ["logloss", "aucpr"],
            "max_depth": self.max_depth,
            "eta": self.learning_rate,
            "min_child_weight": self.min_child_weight,
            "subsample": self.row_share,
            "colsample_bytree": self.feature_share,
            "lambda": self.l2,
            "max_bin": self.max_bins,
            "nthread": self.threads,
            "seed": self.seed,
            "verbosity": 0,
        }


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Features [n, F] float32 (NaN: unknown), labels [n] of 0 and 1, fit weights [n]."""

    feature_names: tuple[str, ...]
    fit_features: np.ndarray
    fit_labels: np.ndarray
    fit_weights: np.ndarray
    tune_features: np.ndarray
    tune_labels: np.ndarray


@dataclass(frozen=True, slots=True)
class TrainedForest:
    """A fitted and calibrated forest with XGBoost's own serialisation of it."""

    forest: Forest
    model_ubj: bytes
    calibration: Calibration
    figures: dict = field(default_factory=dict)


OnRound = Callable[[], None]


def train_from_scratch(data: TrainingData, parameters: TrainParameters, on_round: OnRound) -> TrainedForest:
    """Fit a new forest; the number of trees is the one that ranks the tune period best.

    `on_round` is called after each tree and may raise to stop the training.
    """
    started = time.monotonic()
    booster = _boost(_matrices(data, parameters), parameters, parameters.first_trees_max, None, on_round)
    return _calibrated(data, booster, {"method": "from_scratch", "seconds": time.monotonic() - started})


def train_increment(champion_ubj: bytes, data: TrainingData, parameters: TrainParameters, on_round: OnRound) -> TrainedForest:
    """Continue the champion, given as XGBoost's own serialisation, in the better of the two ways described above."""
    started = time.monotonic()
    champion = _booster_of(champion_ubj)
    bases = {"continued": champion, "refreshed": _refreshed(_booster_of(champion_ubj), data, parameters)}
    matrices = _matrices(data, parameters)
    boosters = {
        method: _boost(matrices, parameters, parameters.added_trees_max, base, on_round) for method, base in bases.items()
    }
    precision_of = {
        method: average_precision(data.tune_labels, booster.predict(matrices.tune, output_margin=True))
        for method, booster in boosters.items()
    }
    best = max(precision_of, key=precision_of.__getitem__)
    figures = {
        "method": best,
        "tune_ap_by_method": precision_of,
        "champion_trees": champion.num_boosted_rounds(),
        "seconds": time.monotonic() - started,
    }
    return _calibrated(data, boosters[best], figures)


@dataclass(frozen=True, slots=True)
class _Matrices:
    """The rows in XGBoost's quantised form, made once for all boosters of a run."""

    fit: xgboost.QuantileDMatrix
    tune: xgboost.QuantileDMatrix


def _matrices(data: TrainingData, parameters: TrainParameters) -> _Matrices:
    common = {"feature_names": list(data.feature_names), "nthread": parameters.threads, "max_bin": parameters.max_bins}
    fit = xgboost.QuantileDMatrix(data.fit_features, data.fit_labels, weight=data.fit_weights, **common)
    return _Matrices(fit, xgboost.QuantileDMatrix(data.tune_features, data.tune_labels, ref=fit, **common))


def _boost(
    matrices: _Matrices, parameters: TrainParameters, trees_max: int, base: xgboost.Booster | None, on_round: OnRound
) -> xgboost.Booster:
    return xgboost.train(
        parameters.booster(),
        matrices.fit,
        trees_max,
        evals=[(matrices.tune, "tune")],
        xgb_model=base,
        verbose_eval=False,
        callbacks=[
            _AfterRound(on_round),
            xgboost.callback.EarlyStopping(rounds=parameters.patience_trees, save_best=True, maximize=True),
        ],
    )


def _refreshed(champion: xgboost.Booster, data: TrainingData, parameters: TrainParameters) -> xgboost.Booster:
    """Recompute the leaves of all trees of the champion, first to last; the splits stay."""
    settings = parameters.booster()
    # The updater replaces the tree method; naming both makes XGBoost warn.
    del settings["tree_method"]
    settings |= {"process_type": "update", "updater": "refresh", "refresh_leaf": True, "subsample": 1.0}
    # Not the quantised matrix: leaves are recomputed by walking the trees with the values themselves.
    fit = xgboost.DMatrix(data.fit_features, data.fit_labels, weight=data.fit_weights, feature_names=list(data.feature_names))
    # As many rounds as there are trees: with fewer, the rest of the forest would be dropped.
    updated = xgboost.train(settings, fit, champion.num_boosted_rounds(), xgb_model=champion)
    # A fresh copy forgets the updater, which would otherwise stay configured for the new trees.
    return _booster_of(bytes(updated.save_raw("ubj")))


def _calibrated(data: TrainingData, booster: xgboost.Booster, figures: dict) -> TrainedForest:
    """Fit the calibration on the tune period, which no tree was grown on."""
    model_ubj = bytes(booster.save_raw("ubj"))
    forest = Forest.from_xgboost(model_ubj, data.feature_names)
    margins = forest.margins(data.tune_features)
    calibration = fit_platt(margins, data.tune_labels)
    figures = figures | {
        "trees": forest.tree_count,
        "fit_rows": len(data.fit_labels),
        "tune_ap": average_precision(data.tune_labels, margins),
        "tune_brier": brier(data.tune_labels, calibration.probability(margins)),
        "calibration": {"slope": calibration.slope, "intercept": calibration.intercept},
    }
    return TrainedForest(forest, model_ubj, calibration, figures)


def _booster_of(model_ubj: bytes) -> xgboost.Booster:
    booster = xgboost.Booster()
    booster.load_model(bytearray(model_ubj))
    return booster


class _AfterRound(xgboost.callback.TrainingCallback):
    def __init__(self, on_round: OnRound) -> None:
        super().__init__()
        self._on_round = on_round

    def after_iteration(self, model, epoch: int, evals_log: dict) -> bool:
        self._on_round()
        return False
