"""Keyset pages: each starts where the one before ended, so a page costs the same however deep it lies."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Q, QuerySet

Row = TypeVar("Row")


class CursorInvalid(ValueError):
    """The cursor in the address was not made by this application for this order."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows in order, and the cursor of the page that follows; None on the last."""

    rows: tuple[Row, ...]
    next_cursor: str | None


def read_page(query: QuerySet[Row], keys: tuple[str, ...], cursor: str | None, size: int) -> Page[Row]:
    """Return `size` rows of `query` in descending order of `keys`, after `cursor`.

    Args:
        keys: integer fields; the last one is unique.

    Raises:
        CursorInvalid: `cursor` cannot be read.
    """
    query = query.order_by(*(f"-{key}" for key in keys))
    if cursor:
        query = query.filter(_after(keys, _decode(cursor, len(keys))))
    rows = tuple(query[: size + 1])
    if len(rows) <= size:
        return Page(rows, None)
    last = rows[size - 1]
    return Page(rows[:size], _encode([getattr(last, key) for key in keys]))


def _after(keys: tuple[str, ...], values: list[int]) -> Q:
    """(a, b) < (x, y) written as a <= x and (a < x or b < y): the first half lets an index be used."""
    condition = Q(**{f"{keys[-1]}__lt": values[-1]})
    for key, value in reversed(list(zip(keys[:-1], values[:-1], strict=True))):
        condition = Q(**{f"{key}__lte": value}) & (Q(**{f"{key}__lt": value}) | condition)
    return condition


def _encode(values: list[int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _decode(cursor: str, length: int) -> list[int]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        raise CursorInvalid("the cursor cannot be read; start from the first page") from None
    is_read = isinstance(values, list) and len(values) == length
    # Larger numbers than a database integer can hold would fail in the query.
    if not is_read or not all(type(v) is int and abs(v) < 2**63 for v in values):
        raise CursorInvalid("the cursor cannot be read; start from the first page")
    return values
