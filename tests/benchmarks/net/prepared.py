"""What the nets of one fold need, without XGBoost or the application: arrays that travel to a machine with a GPU."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference_core.modalities import BinEncoding


@dataclass(frozen=True)
class PreparedFold:
    """One fold of one kind of training.

    Attributes:
        kind: "week" or "history".
        train_start: the fold's day, as protocol.Fold has it.
        encoding: of the net, from the cuts of the fold's forest.
        fit_bins, fit_labels, fit_weights: [n, C] uint8, [n] uint8, [n] float32; the training rows.
        test_bins: [m, C] uint8; test_labels, card, day: [m], of the test week.
        forest_margins: [m] float32, of the fold's forest.
    """

    kind: str
    train_start: int
    encoding: BinEncoding
    fit_bins: np.ndarray
    fit_labels: np.ndarray
    fit_weights: np.ndarray
    test_bins: np.ndarray
    test_labels: np.ndarray
    card: np.ndarray
    day: np.ndarray
    forest_margins: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.train_start}"


_ARRAYS = ("fit_bins", "fit_labels", "fit_weights", "test_bins", "test_labels", "card", "day", "forest_margins")


def save_folds(folds: Iterable[PreparedFold], folder: Path) -> None:
    """Write each fold as a compressed file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for fold in folds:
        arrays = {name: getattr(fold, name) for name in _ARRAYS}
        edges = fold.encoding.edges
        arrays |= {"edges": np.concatenate(edges), "edge_counts": np.array([len(of) for of in edges])}
        told = {"kind": fold.kind, "train_start": fold.train_start, "feature_names": fold.encoding.feature_names}
        np.savez_compressed(folder / f"{fold.name}.npz", told=np.array(json.dumps(told)), **arrays)


def load_fold(path: Path) -> PreparedFold:
    """Read a fold that `save_folds` wrote."""
    with np.load(path) as arrays:
        told = json.loads(str(arrays["told"]))
        edges = np.split(arrays["edges"], np.cumsum(arrays["edge_counts"])[:-1])
        encoding = BinEncoding(tuple(told["feature_names"]), tuple(edges))
        return PreparedFold(told["kind"], told["train_start"], encoding, **{name: arrays[name] for name in _ARRAYS})
