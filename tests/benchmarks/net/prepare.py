"""From the streamed rows of a fold and its forest to what its nets need."""

from __future__ import annotations

import numpy as np

from inference_core.forest import Forest
from inference_core.modalities import encoding_of_forest
from tests.benchmarks.accuracy.averaging import averaged_model
from tests.benchmarks.accuracy.payments import Payments
from tests.benchmarks.accuracy.protocol import Fold
from tests.benchmarks.accuracy.training import TrainedModel
from tests.benchmarks.net.prepared import PreparedFold

_SEED = 20180402


def prepare_fold(
    kind: str, fold: Fold, payments: Payments, names: tuple[str, ...], x: np.ndarray, fit_rows: np.ndarray,
    fit_labels: np.ndarray, test_rows: np.ndarray, forest: TrainedModel, good_share: float,
) -> PreparedFold:  # fmt: skip
    """Return the fold's arrays.

    Args:
        names: columns of x [N, F], rows of all payments.
        fit_rows, fit_labels: rows to learn from, and their labels as they were delivered.
        test_rows: of the test week.
        forest: trained on some of these columns.
        good_share: of the honest fit rows that are kept, drawn with a fixed seed; they weigh 1 / good_share.
    """
    kept = (np.random.default_rng(_SEED).random(len(fit_rows)) < good_share) | (fit_labels == 1)
    fit_rows, fit_labels = fit_rows[kept], fit_labels[kept]
    raw = averaged_model([bytes(b.save_raw("json")) for b in forest.boosters], forest.columns, names)
    fit = x[fit_rows]
    encoding = encoding_of_forest(Forest.from_xgboost(raw, names).trees, names, fit)
    columns = [names.index(name) for name in encoding.feature_names]
    of_forest = [names.index(name) for name in forest.columns]
    test = x[test_rows]
    return PreparedFold(
        kind=kind, train_start=fold.train_start, encoding=encoding,
        fit_bins=encoding.bins(fit[:, columns]), fit_labels=fit_labels.astype(np.uint8),
        fit_weights=np.where(fit_labels == 1, 1.0, 1.0 / good_share).astype(np.float32),
        test_bins=encoding.bins(test[:, columns]), test_labels=payments.fraud[test_rows],
        card=payments.card[test_rows], day=payments.day[test_rows],
        forest_margins=forest.margins(test[:, of_forest]).astype(np.float32),
    )  # fmt: skip
