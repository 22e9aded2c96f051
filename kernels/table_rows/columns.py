"""What a field of a row is made of."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from kernels.errors import KernelInputError


class FieldType(IntEnum):
    """A column's type in the table, by PostgreSQL's names; the numbers are those of cpu.c and of kernels/sqlite_rows."""

    SMALLINT = 0
    INTEGER = 1
    BIGINT = 2
    DOUBLE = 3
    BOOLEAN = 4
    TEXT = 5
    BYTEA = 6
    TIMESTAMPTZ = 7


WHOLE = {FieldType.SMALLINT: 2, FieldType.INTEGER: 4, FieldType.BIGINT: 8}
"""Bytes of the whole numbers."""
POSTGRES_EPOCH_US = 946_684_800_000_000
# 0001-01-01 to the last microsecond of 9999: what both databases, and Python's datetime, can hold.
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
ELEMENTS = tuple(np.dtype(name) for name in ("i8", "i4", "u4", "u2", "u1", "f8", "f4"))
"""The elements that an array may have, by the number that cpu.c knows them by."""
_FLOATS = ("f8", "f4")
Value = bool | int | float | str | bytes | None


class Array(NamedTuple):
    """An array [n], or [n, width] where the width is not 1; elements as NumPy names them, such as "i8"."""

    elements: str
    width: int = 1

    @property
    def row_bytes(self) -> int:
        return np.dtype(self.elements).itemsize * self.width


@dataclass(frozen=True)
class Constant:
    """One value in every row; None for NULL."""

    value: Value


@dataclass(frozen=True)
class Number:
    """A whole number, a float (NaN is NULL), or as TIMESTAMPTZ microseconds since 1970."""

    array: str


@dataclass(frozen=True)
class Flag:
    """Whether any bit of the mask is set in a whole number."""

    array: str
    mask: int


@dataclass(frozen=True)
class Word:
    """The word whose position a whole number is."""

    array: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class LowestBit:
    """The word of the lowest bit that is set: words[0] where none is, words[1] for bit 0, and so on."""

    array: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Token:
    """A piece of a text of the batch, whose start and length (below 0: NULL) are element `position` of two arrays."""

    text: int
    starts: str
    lengths: str
    position: int = 0


@dataclass(frozen=True)
class Part:
    """A text of the batch in pieces, one behind the other; the array says where each ends."""

    text: int
    ends: str


@dataclass(frozen=True)
class Slice:
    """A text of the batch in pieces of so many bytes."""

    text: int
    width: int


@dataclass(frozen=True)
class Joined:
    """The bytes of the elements of some arrays, one behind the other."""

    arrays: tuple[str, ...]


@dataclass(frozen=True)
class PackedRow:
    """A row of float32 as kernels.pack_rows packs it."""

    array: str


Column = Constant | Number | Flag | Word | LowestBit | Token | Part | Slice | Joined | PackedRow
TEXTS = (FieldType.TEXT, FieldType.BYTEA)


def encoded(kind: FieldType, value: Value) -> bytes | None:
    """Return what follows a field's length; None for NULL.

    Raises:
        KernelInputError: the value is not of that type.
    """
    try:
        match kind:
            case _ if value is None:
                return None
            case FieldType.TEXT:
                return value.encode()
            case FieldType.BYTEA:
                return bytes(memoryview(value))
            case FieldType.BOOLEAN:
                return struct.pack(">?", value)
            case FieldType.DOUBLE:
                return struct.pack(">d", value)
            case FieldType.TIMESTAMPTZ:
                return struct.pack(">q", value - POSTGRES_EPOCH_US)
            case _:
                return value.to_bytes(WHOLE[kind], "big", signed=True)
    except (AttributeError, TypeError, OverflowError, struct.error) as error:
        raise KernelInputError(f"{value!r} is no {FieldType(kind).name.lower()}: {error}") from None


def field(content: bytes | None) -> bytes:
    """Return a field with its length in front."""
    return b"\xff\xff\xff\xff" if content is None else struct.pack(">i", len(content)) + content


def check_column(kind: FieldType, column: Column, arrays: dict[str, Array], texts: int) -> None:
    """Raise KernelInputError where a column cannot be made from such arrays and so many texts, or not of that type."""
    whole = {name for name, of in arrays.items() if of.width == 1 and of.elements not in _FLOATS}
    match column:
        case Constant(value):
            encoded(kind, value)
            fits = True
        case Number(array):
            is_whole = kind in WHOLE and array in whole or kind == FieldType.TIMESTAMPTZ and arrays.get(array) == ("i8", 1)
            fits = is_whole or kind == FieldType.DOUBLE and arrays.get(array) in (("f8", 1), ("f4", 1))
        case Flag(array, mask):
            fits = kind == FieldType.BOOLEAN and array in whole and 0 <= mask < 2**63
        case Word(array, words) | LowestBit(array, words):
            fits = kind == FieldType.TEXT and array in whole and len(words) > 0
        case Token(text, starts, lengths, position):
            pair = (arrays.get(starts), arrays.get(lengths))
            fits = kind in TEXTS and 0 <= text < texts and all(of and of.elements == "i4" and position < of.width for of in pair)
        case Part(text, ends):
            fits = kind in TEXTS and 0 <= text < texts and arrays.get(ends) == ("i8", 1)
        case Slice(text, width):
            fits = kind in TEXTS and 0 <= text < texts and width >= 0
        case Joined(names):
            fits = kind == FieldType.BYTEA and all(name in arrays for name in names)
        case PackedRow(array):
            fits = kind == FieldType.BYTEA and array in arrays and arrays[array].elements == "f4"
    if not fits:
        raise KernelInputError(f"{column} cannot be made as {FieldType(kind).name.lower()} from {arrays} and {texts} texts")
