"""A layout as cpu.c reads it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from kernels.native import library
from kernels.table_rows.columns import (
    ELEMENTS,
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
    Word,
    encoded,
    field,
)

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
_COLUMN = np.dtype(
    [
        ("kind", "i4"), ("type", "i4"), ("element", "i4"), ("text", "i4"), ("before", "i8"), ("row", "i8"), ("at", "i8"),
        ("other", "i8"), ("value", "i8"), ("first", "i8"), ("count", "i8"),
    ]
)  # fmt: skip
_KINDS = (Constant, Number, Flag, Word, LowestBit, Token, Part, Slice, Joined, PackedRow)
_LENGTH, _LONGEST_NUMBER = 4, 8


class _Layout(ctypes.Structure):
    _fields_ = [
        ("columns", _LONG), ("fixed", _LONG), ("column", _POINTER), ("blob", _POINTER), ("word", _POINTER), ("piece", _POINTER),
    ]  # fmt: skip


def functions(native: ctypes.CDLL) -> tuple:
    """Return table_rows_room and table_rows_write.

    Raises:
        RuntimeError: the library was built from other sources than these.
    """
    native.table_rows_size.restype = _LONG
    if native.table_rows_size() != ctypes.sizeof(_Layout) * 1000 + _COLUMN.itemsize:
        raise RuntimeError("the compiled kernels were built from other sources: run 'pip install -e .' again")
    common = [_POINTER, _LONG, ctypes.c_char_p, _POINTER, _POINTER, _POINTER]
    for function, arguments in ((native.table_rows_room, common), (native.table_rows_write, [*common, _LONG])):
        function.argtypes, function.restype = arguments, _LONG
    return native.table_rows_room, native.table_rows_write


class NativeLayout:
    """The structure of a layout, with all that it points at; may be used by several threads at once."""

    def __init__(self, arrays: dict[str, Array], columns: Sequence[tuple[FieldType, Column]]) -> None:
        self._arrays = arrays
        sizes = [array.row_bytes for array in arrays.values()]
        self._before = dict(zip(arrays, np.cumsum([0, *sizes]).tolist(), strict=False))
        self._words: list[bytes] = []
        self._pieces: list[tuple[int, int]] = []
        described = np.zeros(max(len(columns), 1), _COLUMN)
        fixed = 2 + sum(self._describe(row, *column) for row, column in zip(described, columns, strict=False))
        ends = np.cumsum([0, *map(len, self._words)])
        blob = np.frombuffer(b"".join(self._words) or b"\0", np.uint8)
        spans = np.stack([ends[:-1], np.diff(ends)], axis=1).astype(np.int64)
        self._kept = (described, blob, spans, np.array(self._pieces or [(0, 0)], np.int64))
        self._structure = _Layout(len(columns), fixed, *(part.ctypes.data for part in self._kept))
        self.address = ctypes.addressof(self._structure)
        self.room, self.write = functions(library())

    def _describe(self, to: np.void, kind: FieldType, column: Column) -> int:
        """Fill in a column; return how many bytes of it cpu.c cannot measure: at most so many a row."""
        to["kind"], to["type"] = _KINDS.index(type(column)), kind
        for name in (getattr(column, "array", None), getattr(column, "starts", None), getattr(column, "ends", None)):
            if name is not None:
                array = self._arrays[name]
                to["before"], to["row"] = self._before[name], array.row_bytes
                to["element"] = ELEMENTS.index(np.dtype(array.elements))
        to["first"], to["text"] = len(self._words), getattr(column, "text", 0)
        match column:
            case Constant(value):
                return self._add_words([encoded(kind, value)])
            case Flag(_, mask):
                to["value"] = mask
            case Word(_, words) | LowestBit(_, words):
                to["count"] = len(words)
                return self._add_words([encoded(kind, word) for word in words])
            case Token(_, _, lengths, position):
                to["other"], to["value"] = self._before[lengths], self._arrays[lengths].row_bytes
                to["at"] = position * 4
                return _LENGTH
            case Slice(_, width):
                to["value"] = width
                return _LENGTH
            case Joined(names):
                pieces = [(self._before[name], self._arrays[name].row_bytes) for name in names]
                to["first"], to["count"], to["value"] = len(self._pieces), len(pieces), sum(size for _, size in pieces)
                self._pieces += pieces
                return _LENGTH + int(to["value"])
            case PackedRow(array):
                width = to["value"] = self._arrays[array].width
                quads = (width + 3) // 4
                return _LENGTH + 5 + (quads + 7) // 8 + quads + 4 * width
        return _LENGTH + _LONGEST_NUMBER

    def _add_words(self, contents: list[bytes | None]) -> int:
        """Add whole fields; return the bytes of the longest."""
        fields = [field(content) for content in contents]
        self._words += fields
        return max(map(len, fields))
