"""Payments as arrays: one column a field, text dictionary-encoded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scoring.ingest.contract import FLAG_FIELDS, NUMBER_FIELDS, TEXT_FIELDS

ABSENT = -1
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True, eq=False)
class PaymentColumns:
    """N payments in event order (unless their source says otherwise).

    Attributes:
        id_prefix, id_values: `transaction_id` is the prefix followed by the value; `int64 [N]`,
            or an object array of `str [N]` where the source has text ids.
        occurred_us: `int64 [N]`, microseconds since 1970-01-01 UTC.
        amount_minor: `int64 [N]`, minor units of `currency`.
        codes: for each text field that the source has, `int32 [N]` into its dictionary; -1: absent.
        dictionaries: for each of those fields, the distinct values as `list[str]`.
        numbers: latitude and longitude where the source has them, `float64 [N]`; NaN: absent.
        flags: card_present and is_recurring where the source has them, `int8 [N]`; -1: absent.
        label: `uint8 [N]`, 1 for fraud. The truth, known only afterwards: never an input.
    """

    id_prefix: str
    id_values: np.ndarray
    occurred_us: np.ndarray
    amount_minor: np.ndarray
    codes: dict[str, np.ndarray]
    dictionaries: dict[str, list[str]]
    numbers: dict[str, np.ndarray]
    flags: dict[str, np.ndarray]
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.occurred_us)

    def transaction_ids(self, rows: slice | np.ndarray = slice(None)) -> list[str]:
        """The `transaction_id` of the given rows, in their order."""
        prefix = self.id_prefix
        return [f"{prefix}{value}" for value in self.id_values[rows].tolist()]

    def dicts(self, rows: slice | np.ndarray = slice(None)) -> list[dict[str, Any]]:
        """The given rows as bodies of `POST /api/v1/decisions`; absent fields are left out."""
        names = ["transaction_id", "occurred_at", "amount_minor"]
        values: list[list[Any]] = [
            self.transaction_ids(rows),
            rfc3339(self.occurred_us[rows]),
            self.amount_minor[rows].tolist(),
        ]
        for name, column in self._optional_values(rows):
            names.append(name)
            values.append(column)
        return [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*values, strict=True)
        ]

    def _optional_values(self, rows: slice | np.ndarray) -> Iterator[tuple[str, list[Any]]]:
        for name in TEXT_FIELDS:
            if name in self.codes:
                # Code -1 picks the last entry, which is None.
                table = np.array([*self.dictionaries[name], None], dtype=object)
                yield name, table[self.codes[name][rows]].tolist()
        for name in NUMBER_FIELDS:
            if name in self.numbers:
                column = self.numbers[name][rows]
                yield name, np.where(np.isnan(column), None, column.astype(object)).tolist()
        flag_table = np.array([False, True, None], dtype=object)
        for name in FLAG_FIELDS:
            if name in self.flags:
                yield name, flag_table[self.flags[name][rows]].tolist()


def rfc3339(times_us: np.ndarray) -> list[str]:
    """UTC times `int64 [N]` in microseconds as text such as `2026-11-24T10:15:30.123456Z`."""
    stamps = np.datetime_as_string(times_us.astype("datetime64[us]"), unit="us")
    return [f"{stamp}Z" for stamp in stamps.tolist()]
