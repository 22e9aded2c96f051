"""The plain form: one array expression a recipe."""

from __future__ import annotations

import numpy as np

from kernels.value_columns import Operation, Recipe, RecipeBook


class ReferenceValueColumns:
    """Answers the contract of `kernels.value_columns` word for word."""

    def __init__(self, book: RecipeBook) -> None:
        self.book = book

    def fill(self, wide: np.ndarray, narrow: np.ndarray, out: np.ndarray) -> None:
        self.book.check(wide, narrow, out)
        sources = [*wide, *narrow.astype(np.int64)]
        for recipe in self.book.recipes:
            columns = _columns(recipe, sources[recipe.source], sources[recipe.second])
            out[:, recipe.column : recipe.column + recipe.width] = columns.reshape(len(out), recipe.width)


def _columns(recipe: Recipe, value: np.ndarray, second: np.ndarray) -> np.ndarray:
    if recipe.operation == Operation.COPY:
        return value
    if recipe.operation == Operation.BETWEEN:
        return (value >= recipe.low) & (value < recipe.high)
    if recipe.operation == Operation.MULTIPLE:
        return (value > 0) & (value % recipe.low == 0)
    if recipe.operation == Operation.DIFFERS:
        return np.where((value < 0) | (second < 0), np.nan, value != second)
    if recipe.operation == Operation.PERIODIC:
        return recipe.table[value // recipe.divisor % len(recipe.table)]
    last = len(recipe.table) - 1
    return recipe.table[np.where((value < 0) | (value >= last), last, value)]
