"""The reader of cpu.c."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from kernels.errors import KernelInputError
from kernels.flat_records.fields import MAX_CHOICE, FieldKind, RecordLayout, Records
from kernels.native import library, pointer

_FIELD = np.dtype(
    [
        ("name", "S48"), ("low", "f8"), ("high", "f8"), ("largest", "i8"), ("kind", "i4"), ("required", "i4"),
        ("card_numbers", "i4"), ("name_length", "i4"), ("column", "i4"), ("span", "i4"), ("shortest", "i4"),
        ("longest", "i4"), ("length", "i4"), ("first_choice", "i4"), ("choices", "i4"), ("unused", "i4"),
    ]
)  # fmt: skip
_SLACK = 64
_NO_ROOM = -2
_USUAL_LENGTH = 128
# Up to so many bytes are read without letting go of the interpreter lock: another thread that takes it may keep it for
# milliseconds, and reading these takes a tenth of one.
_SHORT = 1 << 16
_KEPT, _KEPT_BYTES = 4, 1 << 24
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
_READ = (_LONG, _POINTER, ctypes.c_char_p, _LONG, _LONG, _POINTER, _POINTER, ctypes.c_int, _POINTER, _POINTER)
_SPLIT = (_LONG, ctypes.c_char_p, _LONG, _LONG, _POINTER, _POINTER)


class _Scratch:
    """Room for the columns and the text of a batch, with what is costly to find out: addresses and views."""

    def __init__(self, layout: RecordLayout, rows: int, text_bytes: int) -> None:
        self._layout, self._views_of = layout, -1
        self.rows, self.text_bytes = rows, text_bytes
        self.words, self.text = np.empty(layout.words(rows), np.int64), np.empty(text_bytes, np.uint8)
        self.words_pointer, self.text_pointer = pointer(self.words), pointer(self.text)
        self.size = self.words.nbytes + self.text.nbytes

    def columns(self, n: int) -> list[np.ndarray]:
        """Return copies of the columns of n records."""
        if n != self._views_of:
            self._views, self._views_of = self._layout.views(n, self.words), n
        return [view.copy() for view in self._views]


class CompiledReader:
    """Reads with cpu.c."""

    def __init__(self, layout: RecordLayout) -> None:
        native = library()
        if native is None:
            raise KernelInputError("no compiled kernels are installed")
        self._layout = layout
        self._native = native
        native.flat_records_field_size.restype = _LONG
        if native.flat_records_field_size() != _FIELD.itemsize:
            raise RuntimeError("the compiled kernels were built from other sources: run 'pip install -e .' again")
        self._hold = ctypes.PYFUNCTYPE(*_READ)(("flat_records_read", native))
        self._release = ctypes.CFUNCTYPE(*_READ)(("flat_records_read", native))
        self._scratches: list[_Scratch] = []
        self._reader = self._create()

    def _create(self) -> ctypes.c_void_p:
        layout = self._layout
        fields, words = _described(layout)
        padded = np.array(words or [b""], f"S{MAX_CHOICE}")
        lengths = np.array([len(word) for word in words] or [0], np.int32)
        self._native.flat_records_create.restype = _POINTER
        created = self._native.flat_records_create(
            _LONG(len(fields)), pointer(fields), pointer(padded), pointer(lengths),
            *(_LONG(len(names)) for names in (layout.integers, layout.numbers, layout.codes, layout.spans)),
        )  # fmt: skip
        if not created:
            raise MemoryError("no memory for a record reader")
        return _POINTER(created)

    def __del__(self) -> None:
        if getattr(self, "_reader", None):
            self._native.flat_records_destroy(self._reader)

    def read(
        self, texts: bytes, n: int, total: int, starts: np.ndarray | None, lengths: np.ndarray | None, trusted: bool
    ) -> tuple[Records | None, int]:
        """Return n records of `total` bytes; or None, and the first one that does not lie inside the text.

        Without starts they lie one behind the other; without lengths as well, n is 1.
        """
        scratch = self._scratch(n, total + n * self._layout.growth + _SLACK)
        outside = (self._hold if total <= _SHORT else self._release)(
            self._reader, texts, len(texts), n, starts if starts is None else pointer(starts),
            lengths if lengths is None else pointer(lengths), trusted, scratch.words_pointer, scratch.text_pointer,
        )  # fmt: skip
        if outside >= 0:
            return None, outside
        columns = scratch.columns(n)
        text = scratch.text[: columns[0][n]].tobytes()
        if len(self._scratches) < _KEPT and scratch.size <= _KEPT_BYTES:
            self._scratches.append(scratch)
        return self._layout.records(columns, text), -1

    def _scratch(self, n: int, text_bytes: int) -> _Scratch:
        """Return room for so much; it is nobody else's until it is put back."""
        try:
            scratch = self._scratches.pop()
        except IndexError:
            return _Scratch(self._layout, n, text_bytes)
        if n <= scratch.rows and text_bytes <= scratch.text_bytes:
            return scratch
        return _Scratch(self._layout, max(n, scratch.rows), max(text_bytes, scratch.text_bytes))


def _described(layout: RecordLayout) -> tuple[np.ndarray, list[bytes]]:
    """Return the fields as cpu.c reads them, and the words of all choices."""
    described = np.zeros(len(layout.fields), _FIELD)
    words: list[bytes] = []
    for row, field in zip(described, layout.fields, strict=True):
        for name in ("name", "low", "high", "largest", "kind", "required", "shortest", "longest", "length"):
            row[name] = getattr(field, name)
        row["card_numbers"], row["name_length"] = field.refuse_card_numbers, len(field.name)
        row["column"], row["span"] = layout.column(field), layout.span(field)
        if field.kind == FieldKind.CHOICE:
            row["first_choice"], row["choices"] = len(words), len(field.choices)
            words.extend(word.encode() for word in field.choices)
    return described, words


def split(function: str, body: bytes, mark: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the starts and lengths that a function of cpu.c finds, None where it refuses the text.

    There are no more of them than the text has marks, and one. That is counted only where there are more than usual.
    """
    call = _splitting(function)[len(body) > _SHORT]
    most = len(body) // _USUAL_LENGTH + 1
    found = _NO_ROOM
    while found == _NO_ROOM:  # twice at most
        spans = np.empty((2, most), np.int64)
        found = call(body, len(body), most, pointer(spans[0]), pointer(spans[1]))
        most = body.count(mark) + 1 if found == _NO_ROOM else most
    return None if found < 0 else (spans[0, :found], spans[1, :found])


@functools.cache
def _splitting(function: str) -> tuple[Any, Any]:
    """Return the function for short texts, which keeps the interpreter lock, and the one for others."""
    native: Any = library()
    return ctypes.PYFUNCTYPE(*_SPLIT)((function, native)), ctypes.CFUNCTYPE(*_SPLIT)((function, native))
