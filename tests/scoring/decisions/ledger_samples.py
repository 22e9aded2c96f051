"""Rows of the ledger as plain values, for tests and tools that do not decide."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from scoring.engine import table_rows
from scoring.ledger_tables import DECISIONS

PlainRows = namedtuple("PlainRows", DECISIONS.columns)
"""Each field is a column: a sequence of n values, times in microseconds since 1970."""


def packed(rows: PlainRows) -> table_rows.TableRows:
    """Return the rows as a commit takes them."""
    columns = [column.tolist() if isinstance(column, np.ndarray) else column for column in rows]
    return table_rows.rows_of(DECISIONS.types, list(zip(*columns, strict=True)))


def unpacked(rows: table_rows.TableRows) -> PlainRows:
    """Return what `packed` was given."""
    return PlainRows(*map(list, zip(*rows.values(), strict=True)))
