"""Transactions as the parser leaves them: columns, and spans of one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scoring.engine import ABSENT, spans_of
from scoring.features.schema import CHANNELS, TYPES
from scoring.transactions import ENTITY_FIELDS, Transaction, utc_microseconds


class TransactionRecords(Protocol):
    """n accepted transactions; what the feature state reads of them.

    Attributes:
        text: holds the tokens.
        integers: "occurred_at" (microseconds since 1970) and "amount_minor", int64 [n].
        codes: int32 [n], -1 where absent. "type" and "channel": positions in TYPES and CHANNELS; "card_present" and
            "is_recurring": 0 or 1; "mcc": its value; "country" and "home_country": the letters as digits of base 26.
        starts, lengths: int32 [n, T], where in `text` the values of `token_fields` lie; length -1 where absent.
        token_fields: T names, those of ENTITY_FIELDS and "country" among them.
    """

    text: bytes
    integers: Mapping[str, np.ndarray]
    codes: Mapping[str, np.ndarray]
    starts: np.ndarray
    lengths: np.ndarray
    token_fields: tuple[str, ...]


@dataclass(frozen=True)
class ObjectRecords:
    """TransactionRecords made of objects."""

    text: bytes
    integers: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]
    starts: np.ndarray
    lengths: np.ndarray
    token_fields: tuple[str, ...]


_FIELDS = (*ENTITY_FIELDS, "country")


def records_of(transactions: Sequence[Transaction]) -> ObjectRecords:
    """Return parsed transactions as columns."""
    shape = (len(transactions), len(_FIELDS))
    text, starts, lengths = spans_of([getattr(t, name) for t in transactions for name in _FIELDS])
    codes = {
        "type": [TYPES.index(t.type) for t in transactions],
        "channel": [CHANNELS.index(t.channel) for t in transactions],
        "mcc": [ABSENT if t.mcc is None else int(t.mcc) for t in transactions],
        "country": [_letters(t.country) for t in transactions],
        "home_country": [_letters(t.home_country) for t in transactions],
        "card_present": [ABSENT if t.card_present is None else int(t.card_present) for t in transactions],
        "is_recurring": [ABSENT if t.is_recurring is None else int(t.is_recurring) for t in transactions],
    }
    return ObjectRecords(
        text=text,
        integers={
            "occurred_at": np.array([utc_microseconds(t.occurred_at) for t in transactions], np.int64),
            "amount_minor": np.array([t.amount_minor for t in transactions], np.int64),
        },
        codes={name: np.array(column, np.int32) for name, column in codes.items()},
        starts=starts.reshape(shape),
        lengths=lengths.reshape(shape),
        token_fields=_FIELDS,
    )


def _letters(country: str | None) -> int:
    return ABSENT if country is None else (ord(country[0]) - 65) * 26 + ord(country[1]) - 65
