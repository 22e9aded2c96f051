"""Rows of database tables from a batch's arrays, and into SQLite; the contracts are those of `kernels.table_rows` and
`kernels.sqlite_rows`."""

from kernels.sqlite_rows import RowWriter, address_to_write_at, open_writer, prepare_sessions
from kernels.table_rows import (
    Array,
    Column,
    Constant,
    FieldType,
    Flag,
    Joined,
    LowestBit,
    Number,
    PackedRow,
    Part,
    RowLayout,
    Slice,
    TableRows,
    Token,
    Word,
    rows_of,
)

__all__ = [
    "Array", "Column", "Constant", "FieldType", "Flag", "Joined", "LowestBit", "Number", "PackedRow", "Part", "RowLayout",
    "RowWriter", "Slice", "TableRows", "Token", "Word", "address_to_write_at", "open_writer", "prepare_sessions", "rows_of",
]  # fmt: skip
