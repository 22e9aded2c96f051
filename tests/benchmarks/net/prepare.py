"""From the Handbook's file to what the nets need: streamed, forests trained as in the accuracy benchmark, folds prepared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from inference_core.forest import Forest
from inference_core.modalities import encoding_of_forest
from scoring.features.schema import current_schema
from tests.benchmarks.accuracy.averaging import averaged_model
from tests.benchmarks.accuracy.feature_groups import columns_of
from tests.benchmarks.accuracy.payments import Payments
from tests.benchmarks.accuracy.protocol import TEST_DATES, VALIDATION_DATES, Fold, folds, rows_of_test_week
from tests.benchmarks.accuracy.reading import read_payments
from tests.benchmarks.accuracy.recipe import Recipe, read_chosen
from tests.benchmarks.accuracy.search import available_cores
from tests.benchmarks.accuracy.stream import PaymentStream, program_without_model
from tests.benchmarks.accuracy.training import TrainedModel, train, training_days
from tests.benchmarks.net.prepared import PreparedFold, save_folds
from tests.benchmarks.net.recipe import NetRecipe

_SEED = 20180402
_DATES = {"test": TEST_DATES, "validation": VALIDATION_DATES}


def prepare_all(data: Path, folder: Path, which: str, recipes: dict[str, NetRecipe], say: Callable[[str], None]) -> None:
    """Write a prepared fold for each fold and kind; labels are those that were delivered when the fold is trained."""
    payments = read_payments(data)
    of_forest = read_chosen()
    forests = {kind: getattr(of_forest, kind) for kind in recipes}
    names = _names([recipe.group for recipe in (*forests.values(), *recipes.values())])
    days = folds(payments, _DATES[which])
    stream = PaymentStream(payments, names, days[-1].test_end)
    for fold in days:
        stream.advance(program_without_model(), fold.test_start)
        known = stream.known.copy()
        stream.advance(program_without_model(), fold.test_end)
        for kind, recipe in forests.items():
            say(f"{which} fold of day {fold.train_start}: forest on a {kind}")
            fit_rows = np.arange(*payments.rows_of_days(*training_days(fold, recipe)).indices(len(payments)))
            forest = _forest(recipe, names, stream.x[fit_rows], known[fit_rows])
            rows = rows_of_test_week(payments, fold)
            save_folds(
                [prepare_fold(kind, fold, payments, names, stream.x, fit_rows, known[fit_rows], rows, forest, recipes[kind])],
                folder,
            )


def _names(groups: list[str]) -> tuple[str, ...]:
    """Return the columns of all groups and of the card's last payments, in the schema's order."""
    wanted = {name for group in groups for name in columns_of(group)} | set(sequence_columns())
    return tuple(name for name in current_schema().names if name in wanted)


def sequence_columns() -> tuple[str, ...]:
    """Return the columns of a card's last payments; the file names no merchants, so that "the same" is never known."""
    return tuple(name for name in current_schema().names if name.startswith("card_last") and not name.endswith("_same"))


def _forest(recipe: Recipe, names: tuple[str, ...], x: np.ndarray, fraud: np.ndarray) -> TrainedModel:
    columns = [names.index(name) for name in columns_of(recipe.group)]
    return train(recipe, x[:, columns], fraud, threads=available_cores())


def prepare_fold(
    kind: str, fold: Fold, payments: Payments, names: tuple[str, ...], x: np.ndarray, fit_rows: np.ndarray,
    fit_labels: np.ndarray, test_rows: np.ndarray, forest: TrainedModel, recipe: NetRecipe,
) -> PreparedFold:  # fmt: skip
    """Return the fold's arrays.

    Args:
        names: columns of x [N, F], rows of all payments.
        fit_rows, fit_labels: rows to learn from, and their labels as they were delivered.
        test_rows: of the test week.
        forest: trained on some of these columns.
        recipe: says which columns the net may read, and what share of the honest fit rows is kept; they weigh for the rest.
    """
    kept = (np.random.default_rng(_SEED).random(len(fit_rows)) < recipe.good_share) | (fit_labels == 1)
    fit_rows, fit_labels = fit_rows[kept], fit_labels[kept]
    raw = averaged_model([bytes(b.save_raw("json")) for b in forest.boosters], forest.columns, names)
    fit = x[fit_rows]
    encoding = encoding_of_forest(Forest.from_xgboost(raw, names).trees, names, fit)
    encoding = encoding.only({*columns_of(recipe.group), *sequence_columns()})
    columns = [names.index(name) for name in encoding.feature_names]
    of_forest = [names.index(name) for name in forest.columns]
    test = x[test_rows]
    return PreparedFold(
        kind=kind, train_start=fold.train_start, encoding=encoding,
        fit_bins=encoding.bins(fit[:, columns]), fit_labels=fit_labels.astype(np.uint8),
        fit_weights=np.where(fit_labels == 1, 1.0, 1.0 / recipe.good_share).astype(np.float32),
        test_bins=encoding.bins(test[:, columns]), test_labels=payments.fraud[test_rows],
        card=payments.card[test_rows], day=payments.day[test_rows],
        forest_margins=forest.margins(test[:, of_forest]).astype(np.float32),
    )  # fmt: skip
