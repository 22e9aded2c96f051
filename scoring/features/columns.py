"""A batch of transactions as columns: the form in which everything from one payment to a whole history is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scoring.engine import EntityPlan, open_entity_tables
from scoring.features.records import TransactionRecords, records_of
from scoring.features.schema import KINDS, TYPES
from scoring.transactions import ENTITY_FIELDS, Transaction

TOKEN_FIELDS = (*ENTITY_FIELDS, "country")


@dataclass(frozen=True)
class TransactionColumns:
    """n transactions in arrival order.

    Attributes:
        occurred_us: [n] int64 microseconds since 1970.
        amount_minor: [n] int64.
        codes: int32 [n] of each name, as TransactionRecords has them.
        entities: [n, K] int32: the row of each kind's entity; ABSENT where the transaction does not name it, UNKNOWN where it
            was never met and must not be remembered.
        others: [n, K] int32: the counterparts that are counted.
        key: [n] uint64, names the event again when its label comes.
        insert: [n] uint8; 0 is scored without a trace (dry run).
        records: what they were made of, row by row; None where that was something else.
    """

    occurred_us: np.ndarray
    amount_minor: np.ndarray
    codes: Mapping[str, np.ndarray]
    entities: np.ndarray
    others: np.ndarray
    key: np.ndarray
    insert: np.ndarray
    records: TransactionRecords | None = None

    def __len__(self) -> int:
        return len(self.occurred_us)


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


class TokenTables:
    """Numbers the entities that transactions name."""

    def __init__(self) -> None:
        self.entities = open_entity_tables(_PLAN)
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
        insert = _flags(len(occurred_us), remember)
        places = self._places if records.token_fields is self._fields else self._find(records.token_fields)
        entities, others = self.entities.of_text(records.text, starts, lengths, places, codes["type"], insert)
        source = records if rows is None else None
        return TransactionColumns(occurred_us, amount_minor, codes, entities, others, keys, insert, source)

    def columns_of_codes(
        self,
        occurred_us: np.ndarray,
        amount_minor: np.ndarray,
        codes: Mapping[str, np.ndarray],
        tokens: Mapping[str, np.ndarray],
        keys: np.ndarray,
    ) -> TransactionColumns:
        """Return the columns of transactions whose tokens are numbered already, to be inserted.

        Args:
            tokens: name out of TOKEN_FIELDS -> int32 [n] codes, ABSENT where there is none; a missing field is absent everywhere.
        """
        insert = _flags(len(occurred_us), True)
        matrix = np.full((len(occurred_us), len(TOKEN_FIELDS)), -1, np.int32)
        for name, column in tokens.items():
            matrix[:, TOKEN_FIELDS.index(name)] = column
        entities, others = self.entities.of_codes(matrix, codes["type"], insert)
        return TransactionColumns(occurred_us, amount_minor, codes, entities, others, keys, insert)

    def columns(self, transactions: Sequence[Transaction], keys: Sequence[int], *, remember: bool) -> TransactionColumns:
        """Return the columns of transactions that are objects."""
        return self.columns_of(records_of(transactions), np.array(keys, np.uint64), remember=remember)

    def sizes(self) -> list[int]:
        """Return how many tokens and pairs each table knows."""
        return [len(table) for table in (*self.entities.tables, *self.entities.pairs) if table is not None]

    def memory_bytes(self) -> int:
        """Return the bytes that the tables hold."""
        return sum(table.memory_bytes() for table in (*self.entities.tables, *self.entities.pairs) if table is not None)

    def _find(self, fields: tuple[str, ...]) -> tuple[int, ...]:
        self._fields, self._places = fields, tuple(fields.index(name) for name in TOKEN_FIELDS)
        return self._places


_ALL, _NONE = np.ones(4096, np.uint8), np.zeros(4096, np.uint8)


def _flags(rows: int, value: bool) -> np.ndarray:
    """Return uint8 [rows], all 1 or all 0; they are read and never written."""
    return (_ALL if value else _NONE)[:rows] if rows <= len(_ALL) else np.full(rows, value, np.uint8)
