"""Rows of a database table from the arrays of a batch: what PostgreSQL copies in as it is, and SQLite is fed from.

The contract
------------
* What comes out is a whole stream of PostgreSQL's binary COPY format ("COPY", PostgreSQL manual): a signature, the rows, a
  trailer. A row is its number of fields (int16) and, of each field, its size (int32; -1 is NULL) and its bytes; integers and
  floats are big-endian, times are microseconds since 2000, booleans a byte.
* A layout says once which arrays and texts a batch brings, and what each column is made of (columns.py): a constant, an
  element of an array (int64, int32, uint32, uint16, uint8, float64, float32), a flag in one, a word that one chooses, a piece
  of a text, the bytes of elements joined, or float32 packed as kernels.pack_rows does.
* NaN in a column of floats is NULL, and so is a piece of a text whose length is below 0. A whole number that its column
  cannot hold, a time outside the years 1 to 9999, a code without a word and a piece that does not lie inside its text are
  refused, and nothing is written.
* Texts are taken as they are: they have to be UTF-8 without NUL, which no table of PostgreSQL takes.

Cost: one pass to check and to measure, one to write.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import address, library
from kernels.table_rows import reference
from kernels.table_rows.columns import (
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
    Slice,
    Token,
    Value,
    Word,
    check_column,
    encoded,
    field,
)
from kernels.table_rows.native_layout import NativeLayout

__all__ = [
    "Array", "Column", "Constant", "FieldType", "Flag", "Joined", "LowestBit", "Number", "PackedRow", "Part", "RowLayout",
    "Slice", "TableRows", "Token", "Word", "rows_of",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class TableRows:
    """n rows.

    Attributes:
        types: of the columns.
        count: n.
        stream: uint8 [bytes], the whole COPY stream.
    """

    types: tuple[FieldType, ...]
    count: int
    stream: np.ndarray

    def values(self) -> Iterator[list[Value]]:
        """Yield the values of each row; times as microseconds since 1970."""
        return reference.read(self.types, self.stream.tobytes())


def rows_of(types: Sequence[FieldType], rows: Sequence[Sequence[Value]]) -> TableRows:
    """Return rows of plain values, one field after the other: for tests and tools, not for the decision path.

    Raises:
        KernelInputError: a value is not of its column's type.
    """
    count = len(types).to_bytes(2, "big")
    written = [
        count + b"".join(field(encoded(kind, value)) for kind, value in zip(types, row, strict=True)) for row in rows
    ]
    stream = reference.SIGNATURE + b"".join(written) + reference.TRAILER
    return TableRows(tuple(types), len(rows), np.frombuffer(stream, np.uint8))


class RowLayout:
    """What the rows of a table are made of; may be used by several threads at once.

    Attributes:
        arrays: name -> elements and width of the arrays that a batch brings, in their order.
        columns: of the table, in its order, each with its type.
        texts: how many texts a batch brings.
    """

    def __init__(self, arrays: dict[str, Array], columns: Sequence[tuple[FieldType, Column]], texts: int = 0) -> None:
        """Lay out rows.

        Args:
            arrays: those of the widest elements first, so that each stays aligned when they are joined.

        Raises:
            KernelInputError: a column cannot be made from these, or the arrays are in another order.
        """
        sizes = [np.dtype(array.elements).itemsize for array in arrays.values()]
        if sizes != sorted(sizes, reverse=True):
            raise KernelInputError(f"the arrays with the widest elements must come first; got {arrays}")
        for kind, column in columns:
            check_column(kind, column, arrays, texts)
        self.arrays, self.columns, self.texts = dict(arrays), tuple(columns), texts
        self.types = tuple(kind for kind, _ in columns)
        self._dtypes = [np.dtype(array.elements) for array in arrays.values()]
        self._sizes = [array.row_bytes for array in arrays.values()]
        self._native = None if library() is None else NativeLayout(self.arrays, self.columns)

    def write(self, n: int, arrays: Sequence[np.ndarray], texts: Sequence[bytes] = ()) -> TableRows:
        """Return n rows.

        Args:
            arrays: [n] or [n, width] each, in the layout's order.
            texts: of the whole batch.

        Raises:
            KernelInputError: the arrays or texts are not what the layout says, or a row cannot be written; the message says
                which, and its column.
            MemoryError: there is no memory for the rows.
        """
        self._check(n, arrays, texts)
        if self._native is None:
            given = dict(zip(self.arrays, arrays, strict=True))
            try:
                stream = reference.write(self.columns, n, given, texts)
            except reference.Unwritable as fault:
                raise self._unwritable(fault.row, fault.column) from None
            return TableRows(self.types, n, np.frombuffer(stream, np.uint8))
        return TableRows(self.types, n, self._write(self._native, n, arrays, texts))

    def _write(self, native: NativeLayout, n: int, arrays: Sequence[np.ndarray], texts: Sequence[bytes]) -> np.ndarray:
        try:
            joined = b"".join(arrays)  # one piece of memory, see cpu.c; it wants contiguous arrays
        except (TypeError, ValueError, BufferError):
            joined = b"".join([np.ascontiguousarray(array) for array in arrays])
        where = _Where()
        sizes = (ctypes.c_int64 * self.texts)(*map(len, texts))
        call = (native.address, n, joined, (ctypes.c_char_p * self.texts)(*texts), sizes)
        room = native.room(*call, where)
        if room < 0:
            raise self._unwritable(*where)
        stream = np.empty(room, np.uint8)
        return stream[: native.write(*call, address(stream), room)]

    def _check(self, n: int, arrays: Sequence[np.ndarray], texts: Sequence[bytes]) -> None:
        dtypes = [array.dtype for array in arrays]
        sizes = [(len(array), array.nbytes) for array in arrays]
        if dtypes != self._dtypes or sizes != [(n, n * size) for size in self._sizes]:
            found = [f"{array.dtype} {array.shape}" for array in arrays]
            raise KernelInputError(f"the arrays must be {self.arrays} of {n} rows; got {found}")
        if [*map(type, texts)] != [bytes] * self.texts:
            raise KernelInputError(f"there must be {self.texts} texts of bytes; got {[*map(type, texts)]}")

    def _unwritable(self, row: int, column: int) -> KernelInputError:
        kind, of = self.columns[column]
        return KernelInputError(f"column {column}, {of}, cannot be written as {kind.name.lower()} in row {row}")


_Where = ctypes.c_int64 * 2
