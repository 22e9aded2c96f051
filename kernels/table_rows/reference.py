"""The truth: one field after the other; and rows back to values."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from kernels.pack_rows.reference import pack_rows
from kernels.table_rows.columns import (
    FIRST_US,
    LAST_US,
    POSTGRES_EPOCH_US,
    WHOLE,
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
    encoded,
    field,
)

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"


class Unwritable(Exception):
    """A row's column cannot be written."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__(row, column)
        self.row, self.column = row, column


def write(
    columns: Sequence[tuple[FieldType, Column]], n: int, arrays: dict[str, np.ndarray], texts: Sequence[bytes]
) -> bytes:
    """Return the rows as a whole COPY stream.

    Raises:
        Unwritable: the first column, and of it the first row, that cannot be written.
    """
    fields = [[_field(kind, column, row, arrays, texts, at) for row in range(n)] for at, (kind, column) in enumerate(columns)]
    count = struct.pack(">h", len(columns))
    rows = [count + b"".join(column[row] for column in fields) for row in range(n)]
    return SIGNATURE + b"".join(rows) + TRAILER


def _field(kind: FieldType, column: Column, row: int, arrays: dict, texts: Sequence[bytes], at: int) -> bytes:
    try:
        return field(_content(kind, column, row, arrays, texts))
    except ValueError:
        raise Unwritable(row, at) from None


def _content(kind: FieldType, column: Column, row: int, arrays: dict, texts: Sequence[bytes]) -> bytes | None:
    """Return a field's bytes, or None for NULL.

    Raises:
        ValueError: it cannot be written.
    """
    match column:
        case Constant(value):
            return encoded(kind, value)
        case Number(array):
            value = arrays[array][row].item()
            if kind == FieldType.TIMESTAMPTZ and not FIRST_US <= value <= LAST_US:
                raise ValueError
            return None if value != value else encoded(kind, value)
        case Flag(array, mask):
            return encoded(kind, arrays[array][row].item() & mask != 0)
        case Word(array, words):
            return encoded(kind, _word(words, arrays[array][row].item()))
        case LowestBit(array, words):
            bits = arrays[array][row].item()
            return encoded(kind, _word(words, (bits & -bits).bit_length()))
        case Token(text, starts, lengths, position):
            start, length = (arrays[name].reshape(len(arrays[name]), -1)[row, position].item() for name in (starts, lengths))
            return None if length < 0 else _piece(texts[text], start, start + length)
        case Part(text, ends):
            return _piece(texts[text], arrays[ends][row - 1].item() if row else 0, arrays[ends][row].item())
        case Slice(text, width):
            return _piece(texts[text], row * width, (row + 1) * width)
        case Joined(names):
            return b"".join(arrays[name][row].tobytes() for name in names)
        case PackedRow(array):
            return pack_rows(arrays[array].reshape(len(arrays[array]), -1)[row : row + 1])[0]


def _word(words: Sequence[str], code: int) -> str:
    if not 0 <= code < len(words):
        raise ValueError
    return words[code]


def _piece(text: bytes, start: int, end: int) -> bytes:
    if not 0 <= start <= end <= len(text):
        raise ValueError
    return text[start:end]


def read(types: Sequence[FieldType], stream: bytes) -> Iterator[list[Value]]:
    """Yield the values of each row of a COPY stream; times as microseconds since 1970."""
    at = len(SIGNATURE)
    while (count := struct.unpack_from(">h", stream, at)[0]) >= 0:
        at += 2
        row = []
        for kind in types[:count]:
            (size,) = struct.unpack_from(">i", stream, at)
            at += 4
            row.append(None if size < 0 else _value(kind, stream[at : at + size]))
            at += max(size, 0)
        yield row


def _value(kind: FieldType, content: bytes) -> Value:
    if kind in WHOLE:
        return int.from_bytes(content, "big", signed=True)
    if kind == FieldType.TEXT:
        return content.decode()
    if kind == FieldType.DOUBLE:
        return struct.unpack(">d", content)[0]
    if kind == FieldType.BOOLEAN:
        return content != b"\0"
    if kind == FieldType.TIMESTAMPTZ:
        return int.from_bytes(content, "big", signed=True) + POSTGRES_EPOCH_US
    return content


__all__ = ["Array", "Unwritable", "read", "write"]
