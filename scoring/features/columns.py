"""A batch of transactions as columns: the form in which everything from one payment to a whole history is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scoring.engine import EntityPlan, Records, TokenTable, open_entity_tables
from scoring.features.schema import KINDS, TYPES
from scoring.transaction_records import transaction_reader
from scoring.transactions import ENTITY_FIELDS, Transaction, canonical_json

TOKEN_FIELDS = (*ENTITY_FIELDS, "country")
_READER = transaction_reader()
INTEGER_FIELDS, CODE_FIELDS = _READER.integer_fields, _READER.code_fields
_OCCURRED, _AMOUNT = INTEGER_FIELDS.index("occurred_at"), INTEGER_FIELDS.index("amount_minor")
_TYPE = CODE_FIELDS.index("type")


@dataclass(frozen=True)
class TransactionColumns:
    """n transactions in arrival order.

    Attributes:
        integers: [len(INTEGER_FIELDS), n] int64; a time is microseconds since 1970.
        codes: [len(CODE_FIELDS), n] int32, -1 where absent, as Records have them.
        entities: [n, K] int32: the row of each kind's entity; ABSENT where the transaction does not name it, UNKNOWN where it
            was never met and must not be remembered.
        others: [n, K] int32: the counterparts that are counted.
        key: [n] uint64, names the event again when its label comes.
        insert: [n] uint8; 0 is scored without a trace (dry run).
        records: what they were made of, row by row; None where that was something else.
    """

    integers: np.ndarray
    codes: np.ndarray
    entities: np.ndarray
    others: np.ndarray
    key: np.ndarray
    insert: np.ndarray
    records: Records | None = None

    def __len__(self) -> int:
        return len(self.insert)

    @property
    def occurred_us(self) -> np.ndarray:
        """[n] int64 microseconds since 1970."""
        return self.integers[_OCCURRED]

    @property
    def amount_minor(self) -> np.ndarray:
        """[n] int64."""
        return self.integers[_AMOUNT]


def _position(name: str | None) -> int:
    return -1 if name is None else TOKEN_FIELDS.index(name)


_PLAN = EntityPlan(
    len(TOKEN_FIELDS),
    tuple(
        (
            _position(kind.key[0]),
            _position(kind.key[1] if len(kind.key) > 1 else None),
            _position(kind.distinct),
            -1 if kind.only_type is None else TYPES.index(kind.only_type),
        )
        for kind in KINDS
    ),
)


_PLACES = tuple(_READER.token_fields.index(name) for name in TOKEN_FIELDS)


class TokenTables:
    """Numbers the entities that transactions name."""

    def __init__(self) -> None:
        self.entities = open_entity_tables(_PLAN)

    def columns_of(self, records: Records, keys: np.ndarray, *, remember: bool) -> TransactionColumns:
        """Return the columns of parsed transactions; with `remember` False nothing new is kept and nothing is inserted.

        Args:
            records: what `transaction_reader` read, all of them accepted.
            keys: uint64 [n].
        """
        if b"\0" in records.accepted.tobytes():
            raise ValueError("a transaction that was not accepted has no features; leave it out, or read it another way first")
        insert, codes = _flags(len(records), remember), records.code_columns
        entities, others = self.entities.of_text(records.text, records.starts, records.lengths, _PLACES, codes[_TYPE], insert)
        return TransactionColumns(records.integer_columns, codes, entities, others, keys, insert, records)

    def columns_of_codes(
        self, values: Mapping[str, np.ndarray], tokens: Mapping[str, np.ndarray], keys: np.ndarray
    ) -> TransactionColumns:
        """Return the columns of transactions whose tokens are numbered already, to be inserted.

        Args:
            values: [n] of each name out of INTEGER_FIELDS and CODE_FIELDS; of the codes, what is missing is absent.
            tokens: name out of TOKEN_FIELDS -> int32 [n] codes, -1 where absent; a missing field is absent everywhere.
        """
        n = len(keys)
        integers = np.array([values[name] for name in INTEGER_FIELDS], np.int64)
        codes, numbered = np.full((len(CODE_FIELDS), n), -1, np.int32), np.full((n, len(TOKEN_FIELDS)), -1, np.int32)
        for row, name in enumerate(CODE_FIELDS):
            codes[row] = values.get(name, -1)
        for name, column in tokens.items():
            numbered[:, TOKEN_FIELDS.index(name)] = column
        insert = _flags(n, True)
        return TransactionColumns(integers, codes, *self.entities.of_codes(numbered, codes[_TYPE], insert), keys, insert)

    def columns(self, transactions: Sequence[Transaction], keys: Sequence[int], *, remember: bool) -> TransactionColumns:
        """Return the columns of transactions that are objects."""
        records = _READER.read_many([canonical_json(transaction) for transaction in transactions], trusted=True)
        return self.columns_of(records, np.array(keys, np.uint64), remember=remember)

    @property
    def all_tables(self) -> list[TokenTable]:
        """Those of the fields in the order of TOKEN_FIELDS, then those of pairs in the order of the kinds."""
        return [table for table in (*self.entities.tables, *self.entities.pairs) if table is not None]

    def sizes(self) -> list[int]:
        """Return how many tokens or pairs each table knows."""
        return [len(table) for table in self.all_tables]

    def memory_bytes(self) -> int:
        """Return the bytes that the tables hold."""
        return sum(table.memory_bytes() for table in self.all_tables)

    def _find(self, fields: tuple[str, ...]) -> tuple[int, ...]:
        self._fields, self._places = fields, tuple(fields.index(name) for name in TOKEN_FIELDS)
        return self._places


_ALL, _NONE = np.ones(4096, np.uint8), np.zeros(4096, np.uint8)


def _flags(rows: int, value: bool) -> np.ndarray:
    """Return uint8 [rows], all 1 or all 0; they are read and never written."""
    return (_ALL if value else _NONE)[:rows] if rows <= len(_ALL) else np.full(rows, value, np.uint8)
