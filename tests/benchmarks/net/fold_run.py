"""One net of one fold and seed: trained, pruned, quantised, exported, and judged beside the forest at every stage."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from inference_core.modalities import (
    FinishingPlan,
    NetRows,
    TabularNet,
    activation_sparsity,
    calibrate_thresholds,
    export_net,
    finish,
    train_net,
)  # fmt: skip
from inference_core.net import QuantisedNet
from scoring.learning.metrics import auc_roc, average_precision, card_precision_at_k
from tests.benchmarks.net.bytes import bytes_of
from tests.benchmarks.net.prepared import PreparedFold
from tests.benchmarks.net.recipe import NetRecipe

CARDS_A_DAY = 100
# Rows that a flip is counted on are those that 1,000 alerts a million would be drawn from.
_FLAGGED_SHARE = 0.001
_EXPORT_ROWS = 2048
# Thresholds and steps are calibrated on training rows: the test week is looked at by nothing but the figures.
_TUNE_ROWS = 20_000


@dataclass(frozen=True)
class StageFigures:
    """Figures of one stage of the net, alone and blended with the forest: (AUC, AP, CP@100) each."""

    net: tuple[float, float, float]
    blend: tuple[float, float, float]


@dataclass(frozen=True)
class FoldRun:
    """What one run gave.

    Attributes:
        stages: name of the stage -> figures; "forest" has the forest's in both.
        bytes: name of a way to keep the parameters -> bytes.
        flips_per_million: test rows whose decision at the float32 blend's threshold changes in integers; None without controls.
        multiplications_skipped, quads_skipped: shares, one row at a time.
        seconds: stage -> seconds of training.
    """

    fold: str
    seed: int
    stages: dict[str, StageFigures]
    bytes: dict[str, int]
    flips_per_million: float | None
    multiplications_skipped: float
    quads_skipped: float
    seconds: dict[str, float]

    def to_json(self) -> dict:
        return asdict(self)


def run_fold(fold: PreparedFold, recipe: NetRecipe, seed: int, device: torch.device, *, controls: bool) -> FoldRun:
    """Train and judge; the same seed gives the same nets on the CPU.

    Args:
        controls: also quantise without training on, and train on in integers without pruning, which takes half as long again.
    """
    fit = NetRows(fold.fit_bins, fold.fit_labels, fold.fit_weights)
    training = replace(recipe.training, seed=seed)
    dense = TabularNet(fold.encoding, recipe.shape, seed).to(device)
    seconds = {"dense": train_net(dense, fit, training).seconds}
    judge = _Judge(fold, recipe.net_share)
    logits = {"float32": dense.logits(fold.test_bins)}

    def finished(plan: FinishingPlan) -> TabularNet:
        net = copy.deepcopy(dense)
        seconds[f"sparsity {plan.sparsity:g}"] = finish(net, fit, plan, training)
        return net

    if controls:
        after = copy.deepcopy(dense)
        after.calibrate(torch.from_numpy(_spread(fold.fit_bins)).to(device))
        logits["int8, after training"] = after.logits(fold.test_bins, quantised=True)
        trained_on = finished(replace(recipe.finishing, sparsity=0.0))
        logits["float32, trained on"] = trained_on.logits(fold.test_bins)
        logits["int8, in training"] = trained_on.logits(fold.test_bins, quantised=True)
    net = finished(recipe.finishing)
    logits["pruned float32"] = net.logits(fold.test_bins)
    logits["pruned int8"] = net.logits(fold.test_bins, quantised=True)
    labels = _spread(fold.fit_labels)
    tune = _spread(fold.fit_bins)
    calibrate_thresholds(net, tune, lambda of: average_precision(labels, of) + auc_roc(labels, of), recipe.threshold_loss)
    logits["pruned int8, thresholds"] = net.logits(fold.test_bins, quantised=True)
    skipped = activation_sparsity(net, tune)
    exported = export_net(net, fold.fit_bins[:_EXPORT_ROWS])
    _require_export(exported, fold, logits["pruned int8, thresholds"])
    return FoldRun(
        fold=fold.name, seed=seed,
        stages={"forest": judge(None)} | {stage: judge(of) for stage, of in logits.items()},
        bytes=bytes_of(net, exported),
        flips_per_million=judge.flips(logits["float32, trained on"], logits["int8, in training"]) if controls else None,
        multiplications_skipped=skipped.multiplications, quads_skipped=skipped.quads, seconds=seconds,
    )  # fmt: skip


class _Judge:
    """Figures on the test week."""

    def __init__(self, fold: PreparedFold, net_share: float) -> None:
        self._fold, self._share = fold, net_share

    def __call__(self, logits: np.ndarray | None) -> StageFigures:
        if logits is None:
            of_forest = self._figures(self._fold.forest_margins)
            return StageFigures(of_forest, of_forest)
        return StageFigures(self._figures(logits), self._figures(self._blend(logits)))

    def flips(self, exact: np.ndarray, rounded: np.ndarray) -> float:
        """Return how many of a million rows stand on the other side of the threshold that flags _FLAGGED_SHARE of them."""
        exact, rounded = self._blend(exact), self._blend(rounded)
        threshold = np.quantile(exact, 1 - _FLAGGED_SHARE)
        return float(((exact >= threshold) != (rounded >= threshold)).mean() * 1e6)

    def _blend(self, logits: np.ndarray) -> np.ndarray:
        return self._share * logits + (1 - self._share) * self._fold.forest_margins

    def _figures(self, scores: np.ndarray) -> tuple[float, float, float]:
        labels = self._fold.test_labels
        return (
            auc_roc(labels, scores), average_precision(labels, scores),
            card_precision_at_k(labels, scores, self._fold.card, self._fold.day, k=CARDS_A_DAY),
        )  # fmt: skip


def _spread(rows: np.ndarray) -> np.ndarray:
    """Return at most _TUNE_ROWS of the rows, spread over all."""
    return rows[:: max(1, -(-len(rows) // _TUNE_ROWS))]


def _require_export(exported: QuantisedNet, fold: PreparedFold, logits: np.ndarray) -> None:
    """Hold the exported integers against the net in its own rounding.

    Raises:
        AssertionError: they differ in one row.
    """
    x = _representatives(fold, fold.test_bins[:_EXPORT_ROWS])
    gap = np.abs(exported.logits(x) - logits[:_EXPORT_ROWS]).max()
    if not gap < 1e-6:
        raise AssertionError(f"{fold.name}: the exported net differs by {gap:.2e} from the one that was trained")


def _representatives(fold: PreparedFold, bins: np.ndarray) -> np.ndarray:
    """Return rows [n, C] float32 that have these bins."""
    x = np.full(bins.shape, np.nan, np.float32)
    for f, edges in enumerate(fold.encoding.edges):
        known = bins[:, f] <= len(edges)
        below_first = np.nextafter(edges[0], np.float32(-np.inf), dtype=np.float32)
        x[known, f] = np.concatenate([[below_first], edges])[bins[known, f]]
    return x
