"""The features that need nothing but the transaction itself."""

from __future__ import annotations

import numpy as np

from scoring.engine import Operation, Recipe, RecipeBook, open_value_columns
from scoring.features.columns import CODE_FIELDS, INTEGER_FIELDS, TransactionColumns
from scoring.features.schema import CHANNELS, DAY_US, OWN_COLUMNS, REPORT_THRESHOLD_MINOR, TYPES

_AT = {column.name: i for i, column in enumerate(OWN_COLUMNS)}
_SOURCES = {name: i for i, name in enumerate((*INTEGER_FIELDS, *CODE_FIELDS))}
_HOURS = np.arange(7 * 24)
_HOUR_US = DAY_US // 24


def _recipe(operation: Operation, names: tuple[str, ...], source: str, **fields) -> Recipe:
    """Return the recipe of features that the schema has side by side."""
    first = _AT[names[0]]
    if tuple(column.name for column in OWN_COLUMNS[first : first + len(names)]) != names:
        raise AssertionError(f"the schema must have {', '.join(names)} side by side")
    return Recipe(operation, first, _SOURCES[source], **fields)


def _or_unknown(rows: np.ndarray) -> np.ndarray:
    """Return a table with a row of NaN for what is not known."""
    return np.append(rows, np.full((1, rows.shape[1]), np.nan), axis=0).astype(np.float32)


def _one_hot(count: int) -> np.ndarray:
    return np.eye(count + 1, count, dtype=np.float32)


_HOUR_OF_WEEK = np.stack([_HOURS % 24, (_HOURS // 24 + 3) % 7, _HOURS % 24 < 6], axis=1)  # 1 January 1970 was a Thursday
_FLAG = _or_unknown(np.array([[0.0], [1.0]]))
_BOOK = RecipeBook(
    (
        _recipe(Operation.COPY, ("amount_minor",), "amount_minor"),
        _recipe(
            Operation.PERIODIC,
            ("hour_of_day", "day_of_week", "is_night"),
            "occurred_at",
            divisor=_HOUR_US,
            table=_HOUR_OF_WEEK.astype(np.float32),
        ),
        _recipe(Operation.LOOK_UP, ("mcc",), "mcc", table=_or_unknown(np.arange(10_000.0).reshape(-1, 1))),
        _recipe(Operation.DIFFERS, ("is_abroad",), "country", second=_SOURCES["home_country"]),
        _recipe(Operation.LOOK_UP, ("card_present",), "card_present", table=_FLAG),
        _recipe(Operation.LOOK_UP, ("is_recurring",), "is_recurring", table=_FLAG),
        _recipe(Operation.MULTIPLE, ("is_round_amount",), "amount_minor", low=10_000),
        _recipe(
            Operation.BETWEEN,
            ("below_report_threshold",),
            "amount_minor",
            low=REPORT_THRESHOLD_MINOR * 9 // 10,
            high=REPORT_THRESHOLD_MINOR,
        ),
        _recipe(Operation.LOOK_UP, tuple(f"type.{name}" for name in TYPES), "type", table=_one_hot(len(TYPES))),
        _recipe(Operation.LOOK_UP, tuple(f"channel.{name}" for name in CHANNELS), "channel", table=_one_hot(len(CHANNELS))),
    ),
    wide=len(INTEGER_FIELDS),
    narrow=len(CODE_FIELDS),
)
_columns = open_value_columns(_BOOK)


def fill_own_features(batch: TransactionColumns, x: np.ndarray) -> None:
    """Write the first len(OWN_COLUMNS) columns of x [n, F] float32."""
    _columns.fill(batch.integers, batch.codes, x)
