"""What the search may see: payments and feature rows up to the last validation week, and nothing of the test weeks."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from tests.benchmarks.accuracy.feature_groups import columns_of
from tests.benchmarks.accuracy.payments import Payments
from tests.benchmarks.accuracy.protocol import VALIDATION_DATES, Figures, Fold, figures, folds, rows_of_test_week
from tests.benchmarks.accuracy.recipe import Recipe
from tests.benchmarks.accuracy.stream import PaymentStream, program_without_model
from tests.benchmarks.accuracy.training import train, training_days

_COLUMNS = columns_of("all")


def write_validation_rows(payments: Payments, folder: Path) -> list[Fold]:
    """Stream the payments up to the last validation week, store what the search needs, and return the folds."""
    validation = folds(payments, VALIDATION_DATES)
    end = validation[-1].test_end
    stream = PaymentStream(payments, _COLUMNS, end)
    stream.advance(program_without_model(), end)
    used = payments.rows_of_days(0, end)
    np.save(folder / "x.npy", stream.x)
    np.savez(folder / "payments.npz", **{field.name: getattr(payments, field.name)[used] for field in fields(Payments)})
    return validation


class ValidationRows:
    """The rows in a folder, mapped, so that the processes of the search share them."""

    def __init__(self, folder: Path) -> None:
        self._x = np.load(folder / "x.npy", mmap_mode="r")
        arrays = np.load(folder / "payments.npz")
        self._payments = Payments(**{field.name: arrays[field.name] for field in fields(Payments)})
        self._place = {name: i for i, name in enumerate(_COLUMNS)}

    def figures(self, recipe: Recipe, fold: Fold) -> Figures:
        """Train for the fold and judge its test week."""
        columns = [self._place[name] for name in columns_of(recipe.group)]
        days = self._payments.rows_of_days(*training_days(fold, recipe))
        # All of a training week's labels are known when its test week begins, so they are read without the delivery.
        model = train(recipe, self._x[days][:, columns], self._payments.fraud[days], threads=1)
        rows = rows_of_test_week(self._payments, fold)
        read = [self._place[name] for name in model.columns]
        return figures(self._payments, rows, model.margins(self._x[rows][:, read]))
