"""The net beside a run's forest: trained, made sparse and whole-numbered, and taken only if it is seen to help.

All that is decided here, is decided on the tune period, which neither forest nor net was fitted on: when training stops,
what the two weigh in the blend, and whether the blend ranks better than the forest alone. For the last of these each half of
the period is scored with a blend fitted on the other half. The gate period is seen by nothing of this.

Importing this module imports torch; only runs that train a net do.
"""

from __future__ import annotations

import copy
import time
from dataclasses import asdict

import numpy as np
import torch

from scoring.engine import (
    Blend,
    Forest,
    NetRows,
    TabularNet,
    activation_sparsity,
    calibrate_thresholds,
    encoding_of_forest,
    export_net,
    finish,
    fit_blend,
    fit_platt,
    train_net,
)
from scoring.learning.metrics import Interval, average_precision, brier, paired_bootstrap_difference
from scoring.learning.net_parameters import NetParameters, NetWish
from scoring.learning.train import OnRound, TrainingData
from scoring.learning.trained_net import TrainedNet

_SAMPLE_ROWS = 4096


def train_beside(forest: Forest, data: TrainingData, parameters: NetParameters, wish: NetWish, on_round: OnRound) -> TrainedNet:
    """Train a net on the rows that the forest was fitted on, and take it if `wish` says so or it helps.

    `on_round` is called after each step and may raise to stop the training.
    """
    if reason := _too_few(data, parameters):
        return TrainedNet(figures={"included": False, "reason": reason})
    started, threads = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(parameters.threads)
    try:
        net, figures = _trained(forest, data, parameters, on_round)
    finally:
        torch.set_num_threads(threads)
    exported = export_net(net, net.encoding.bins(_columns(net, data, data.fit_features[:: _stride(data.fit_labels)])))
    tune_bins = net.encoding.bins(_columns(net, data, data.tune_features))
    margins, logits = forest.margins(data.tune_features), net.logits(tune_bins, quantised=True)
    gain = _gain(margins, logits, data.tune_labels, parameters)
    blend = fit_blend(margins, logits, data.tune_labels)
    included, reason = _decide(wish, gain, blend, parameters)
    figures |= {
        "included": included, "reason": reason, "ap_gain": asdict(gain), "blend": asdict(blend),
        "tune_ap_net": average_precision(data.tune_labels, logits), "seconds": time.monotonic() - started,
    }  # fmt: skip
    if not included:
        return TrainedNet(figures=figures)
    blended = _blended(blend, margins, logits)
    calibration = fit_platt(blended, data.tune_labels)
    figures["tune_ap_blend"] = average_precision(data.tune_labels, blended)
    figures["tune_brier_blend"] = brier(data.tune_labels, calibration.probability(blended))
    return TrainedNet(exported, blend, calibration, figures)


def _too_few(data: TrainingData, parameters: NetParameters) -> str:
    found = {"fit": int(data.fit_labels.sum()), "tune": int(data.tune_labels.sum())}
    needed = {"fit": parameters.min_fit_frauds, "tune": parameters.min_tune_frauds}
    short = [f"{found[part]} frauds of {least} needed to {part} a net" for part, least in needed.items() if found[part] < least]
    return "; ".join(short)


def _trained(forest: Forest, data: TrainingData, parameters: NetParameters, on_round: OnRound) -> tuple[TabularNet, dict]:
    encoding = encoding_of_forest(forest.trees, data.feature_names, data.fit_features)
    net = TabularNet(encoding, parameters.shape(), parameters.seed)
    fit = NetRows(encoding.bins(_columns(net, data, data.fit_features)), data.fit_labels, data.fit_weights)
    judged = _judged(data.tune_labels)
    tune_bins = encoding.bins(_columns(net, data, data.tune_features[judged]))

    def judge(logits: np.ndarray) -> float:
        return average_precision(data.tune_labels[judged], logits)

    classes = int((data.fit_labels == 1).sum()), int((data.fit_labels == 0).sum())
    training = parameters.training(*classes)
    record = train_net(net, fit, training, tune_bins=tune_bins, judge=judge, on_step=on_round)
    least = judge(net.logits(tune_bins)) * (1 - parameters.sparsity_loss)
    dense = net
    for sparsity in (*parameters.sparsities, 0.0):
        net = copy.deepcopy(dense)
        finish(net, fit, parameters.finishing(*classes, sparsity), training, on_step=on_round)
        if judge(net.logits(tune_bins, quantised=True)) >= least:
            break
    calibrate_thresholds(net, tune_bins, judge, parameters.threshold_loss)
    active = activation_sparsity(net, tune_bins)
    figures = {
        "features": len(encoding.feature_names), "epochs": record.epochs, "tune_ap_dense": max(record.judged),
        "weights_zero": sparsity, "multiplications_skipped": active.multiplications,
    }  # fmt: skip
    return net, figures


def _columns(net: TabularNet, data: TrainingData, features: np.ndarray) -> np.ndarray:
    return features[:, [data.feature_names.index(name) for name in net.encoding.feature_names]]


def _judged(labels: np.ndarray) -> np.ndarray:
    """Return the tune rows that decide while a net is made: all frauds, and honest rows spread over the period."""
    good = np.flatnonzero(labels == 0)
    return np.sort(np.concatenate([np.flatnonzero(labels == 1), good[:: _stride(good)]]))


def _stride(rows: np.ndarray) -> int:
    return max(1, len(rows) // _SAMPLE_ROWS)


def _gain(margins: np.ndarray, logits: np.ndarray, labels: np.ndarray, parameters: NetParameters) -> Interval:
    """Return by how much the blend's AP lies above the forest's, rows scored by what the other half of them was fitted on."""
    half = np.arange(len(labels)) % 2 == 0
    blended, alone = np.empty(len(labels)), np.empty(len(labels))
    for rows in (half, ~half):
        blended[rows] = _blended(fit_blend(margins[~rows], logits[~rows], labels[~rows]), margins[rows], logits[rows])
        of_forest = fit_platt(margins[~rows], labels[~rows])
        alone[rows] = of_forest.slope * margins[rows] + of_forest.intercept
    return paired_bootstrap_difference(
        average_precision, labels, blended, alone, resamples=parameters.resamples, confidence=parameters.confidence,
        seed=parameters.seed,
    )  # fmt: skip


def _decide(wish: NetWish, gain: Interval, blend: Blend, parameters: NetParameters) -> tuple[bool, str]:
    told = f"AP {gain.estimate:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}, {parameters.confidence:.0%}) beside the forest alone"
    if blend.net_weight == 0 or blend.forest_weight == 0:
        return False, f"left out: the blend gives one of the two no weight; {told}"
    if wish is NetWish.ALWAYS:
        return True, f"included as asked: {told}"
    return gain.low > 0, f"{'included' if gain.low > 0 else 'left out'}: {told}"


def _blended(blend: Blend, margins: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return blend.forest_weight * margins.astype(np.float64) + blend.net_weight * logits + blend.offset
