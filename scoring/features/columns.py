"""A batch of transactions as columns: the form in which everything from one payment to a whole history is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scoring.engine import ABSENT, UNKNOWN
from scoring.features.schema import CHANNELS, TYPES
from scoring.transactions import Transaction, utc_microseconds

TOKEN_FIELDS = ("customer_id", "account_id", "card_id", "merchant_id", "terminal_id", "device_id", "counterparty_id", "country")
_TYPE_CODE = {name: code for code, name in enumerate(TYPES)}
_CHANNEL_CODE = {name: code for code, name in enumerate(CHANNELS)}


class TokenTable:
    """Numbers the tokens of one field from 0, in the order in which they are first met."""

    def __init__(self) -> None:
        self._codes: dict[str | int, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def code(self, token: str | int | None, *, remember: bool) -> int:
        """Return the token's number; ABSENT for None, UNKNOWN for a new one that must not be remembered."""
        if token is None:
            return ABSENT
        code = self._codes.get(token)
        if code is not None:
            return code
        if not remember:
            return UNKNOWN
        self._codes[token] = code = len(self._codes)
        return code

    def codes(self, tokens: Sequence[str | int | None]) -> np.ndarray:
        """Return the numbers of all tokens, int32, remembering new ones."""
        known = self._codes
        for token in dict.fromkeys(tokens):
            if token is not None and token not in known:
                known[token] = len(known)
        return np.fromiter((ABSENT if t is None else known[t] for t in tokens), np.int32, len(tokens))


@dataclass(frozen=True)
class TransactionColumns:
    """n transactions in arrival order; unknown numbers are NaN.

    Attributes:
        occurred_us: [n] int64 microseconds since 1970.
        amount_minor: [n] int64.
        tokens: field of TOKEN_FIELDS -> [n] int32 codes (ABSENT, UNKNOWN or >= 0); a missing field is absent everywhere.
        type_code, channel_code: [n] int64 positions in TYPES and CHANNELS.
        mcc, is_abroad, card_present, is_recurring: [n] float32.
        key: [n] uint64, names the event again when its label comes.
        insert: [n] uint8; 0 is scored without a trace (dry run).
    """

    occurred_us: np.ndarray
    amount_minor: np.ndarray
    tokens: dict[str, np.ndarray]
    type_code: np.ndarray
    channel_code: np.ndarray
    mcc: np.ndarray
    is_abroad: np.ndarray
    card_present: np.ndarray
    is_recurring: np.ndarray
    key: np.ndarray
    insert: np.ndarray

    def __len__(self) -> int:
        return len(self.occurred_us)


@dataclass
class TokenTables:
    """One table for each field that identifies something."""

    by_field: dict[str, TokenTable] = field(default_factory=lambda: {name: TokenTable() for name in TOKEN_FIELDS})

    def columns(self, transactions: Sequence[Transaction], keys: Sequence[int], *, remember: bool) -> TransactionColumns:
        """Return the columns of `transactions`; with `remember` False nothing new is kept and nothing is inserted."""
        n = len(transactions)
        tokens = {}
        for name in TOKEN_FIELDS:
            table = self.by_field[name]
            tokens[name] = np.array([table.code(getattr(t, name), remember=remember) for t in transactions], np.int32)
        return TransactionColumns(
            occurred_us=np.array([utc_microseconds(t.occurred_at) for t in transactions], np.int64),
            amount_minor=np.array([t.amount_minor for t in transactions], np.int64),
            tokens=tokens,
            type_code=np.array([_TYPE_CODE[t.type] for t in transactions], np.int64),
            channel_code=np.array([_CHANNEL_CODE[t.channel] for t in transactions], np.int64),
            mcc=np.array([np.nan if t.mcc is None else float(t.mcc) for t in transactions], np.float32),
            is_abroad=np.array([_abroad(t.country, t.home_country) for t in transactions], np.float32),
            card_present=np.array([_flag(t.card_present) for t in transactions], np.float32),
            is_recurring=np.array([_flag(t.is_recurring) for t in transactions], np.float32),
            key=np.array(keys, np.uint64),
            insert=np.full(n, remember, np.uint8),
        )


def _flag(value: bool | None) -> float:
    return np.nan if value is None else float(value)


def _abroad(country: str | None, home: str | None) -> float:
    return np.nan if country is None or home is None else float(country != home)
