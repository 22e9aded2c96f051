"""A batch of transactions as columns: the form in which everything from one payment to a whole history is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scoring.engine import ABSENT, TokenTable, open_token_table, token_codes
from scoring.features.records import TransactionRecords, records_of
from scoring.transactions import ENTITY_FIELDS, Transaction

# What identifies something. Entities are numbered as they are met; a country is its two letters as a number.
TOKEN_FIELDS = (*ENTITY_FIELDS, "country")


@dataclass(frozen=True)
class TransactionColumns:
    """n transactions in arrival order.

    Attributes:
        occurred_us: [n] int64 microseconds since 1970.
        amount_minor: [n] int64.
        tokens: [n, len(TOKEN_FIELDS)] int32 codes: ABSENT, UNKNOWN or >= 0.
        type_code, channel_code: [n] int32 positions in TYPES and CHANNELS.
        mcc, home_country, card_present, is_recurring: [n] int32, ABSENT where not known; a country is a code as in `tokens`.
        key: [n] uint64, names the event again when its label comes.
        insert: [n] uint8; 0 is scored without a trace (dry run).
    """

    occurred_us: np.ndarray
    amount_minor: np.ndarray
    tokens: np.ndarray
    type_code: np.ndarray
    channel_code: np.ndarray
    mcc: np.ndarray
    home_country: np.ndarray
    card_present: np.ndarray
    is_recurring: np.ndarray
    key: np.ndarray
    insert: np.ndarray

    def __len__(self) -> int:
        return len(self.occurred_us)

    @property
    def country(self) -> np.ndarray:
        """[n] int32, ABSENT where not known."""
        return self.tokens[:, -1]


def token_matrix(rows: int, **columns: np.ndarray) -> np.ndarray:
    """Return `tokens` of a batch whose codes are known already, by the names in TOKEN_FIELDS; what is not named is absent."""
    tokens = np.full((rows, len(TOKEN_FIELDS)), ABSENT, np.int32)
    for name, codes in columns.items():
        tokens[:, TOKEN_FIELDS.index(name)] = codes
    return tokens


@dataclass
class TokenTables:
    """One table for each field of entities."""

    by_field: dict[str, TokenTable] = field(default_factory=lambda: {name: open_token_table() for name in ENTITY_FIELDS})

    def __post_init__(self) -> None:
        self._tables = list(self.by_field.values())
        self._fields: tuple[str, ...] = ()
        self._places: tuple[int, ...] = ()

    def columns_of(
        self, records: TransactionRecords, keys: np.ndarray, *, remember: bool, rows: np.ndarray | None = None
    ) -> TransactionColumns:
        """Return the columns of parsed transactions; with `remember` False nothing new is kept and nothing is inserted.

        Args:
            keys: uint64, one for each transaction that is returned.
            rows: positions of the transactions to return, in order; None for all. They must be accepted ones.
        """
        starts, lengths, codes = records.starts, records.lengths, records.codes
        occurred_us, amount_minor = records.integers["occurred_at"], records.integers["amount_minor"]
        if rows is not None:
            starts, lengths, occurred_us, amount_minor = starts[rows], lengths[rows], occurred_us[rows], amount_minor[rows]
            codes = {name: column[rows] for name, column in codes.items()}
        insert = np.full(len(occurred_us), remember, np.uint8)
        tokens = token_codes(self._tables, self._columns_in(records), records.text, starts, lengths, insert, spare=1)
        tokens[:, -1] = codes["country"]
        return TransactionColumns(
            occurred_us=occurred_us,
            amount_minor=amount_minor,
            tokens=tokens,
            type_code=codes["type"],
            channel_code=codes["channel"],
            mcc=codes["mcc"],
            home_country=codes["home_country"],
            card_present=codes["card_present"],
            is_recurring=codes["is_recurring"],
            key=keys,
            insert=insert,
        )

    def columns(self, transactions: Sequence[Transaction], keys: Sequence[int], *, remember: bool) -> TransactionColumns:
        """Return the columns of transactions that are objects."""
        return self.columns_of(records_of(transactions), np.array(keys, np.uint64), remember=remember)

    def memory_bytes(self) -> int:
        """Return the bytes that the tables hold."""
        return sum(table.memory_bytes() for table in self._tables)

    def _columns_in(self, records: TransactionRecords) -> tuple[int, ...]:
        if records.token_fields != self._fields:
            self._fields = records.token_fields
            self._places = tuple(records.token_fields.index(name) for name in self.by_field)
        return self._places
