"""Columns that follow from a row's own values; the contract is that of `kernels.value_columns`."""

from kernels.value_columns import Operation, Recipe, RecipeBook, open_value_columns

__all__ = ["Operation", "Recipe", "RecipeBook", "open_value_columns"]
