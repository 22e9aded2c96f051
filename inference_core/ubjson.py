"""A reader of Universal Binary JSON (draft 12), as far as XGBoost writes it: typed arrays become NumPy arrays.

https://ubjson.org ; XGBoost's writer uses counted objects, strings, typed and counted arrays, big-endian numbers.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_NUMBERS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q", b"d": ">f", b"D": ">d"}
_ARRAYS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_MAX_DEPTH = 64


def decode_ubjson(raw: bytes) -> Any:
    """Return the decoded document.

    Raises:
        ValueError: the bytes are truncated or not UBJSON.
    """
    try:
        value, end = _Reader(raw).value(0, 0)
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"damaged UBJSON ({error})") from None
    if end != len(raw):
        raise ValueError(f"{len(raw) - end} bytes follow the document")
    return value


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def _mark(self, at: int) -> tuple[bytes, int]:
        mark = self._raw[at : at + 1]
        if not mark:
            raise ValueError("the document ends early")
        return mark, at + 1

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        mark, at = self._mark(at)
        return self._typed(mark, at, depth)

    def _typed(self, mark: bytes, at: int, depth: int) -> tuple[Any, int]:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        if mark in _NUMBERS:
            return self._number(mark, at)
        if mark == b"S":
            return self._text(at)
        if mark == b"C":
            return self._raw[at : at + 1].decode(), at + 1
        if mark in (b"T", b"F", b"Z"):
            return {b"T": True, b"F": False, b"Z": None}[mark], at
        if mark == b"[":
            return self._array(at, depth)
        if mark == b"{":
            return self._object(at, depth)
        raise ValueError(f"unknown marker {mark!r}")

    def _number(self, mark: bytes, at: int) -> tuple[float | int, int]:
        form = _NUMBERS[mark]
        return struct.unpack_from(form, self._raw, at)[0], at + struct.calcsize(form)

    def _length(self, at: int) -> tuple[int, int]:
        mark, at = self._mark(at)
        if mark not in (b"i", b"U", b"I", b"l", b"L"):
            raise ValueError(f"a length cannot be {mark!r}")
        length, at = self._number(mark, at)
        if not 0 <= length <= len(self._raw):
            raise ValueError(f"impossible length {length}")
        return int(length), at

    def _text(self, at: int) -> tuple[str, int]:
        length, at = self._length(at)
        if at + length > len(self._raw):
            raise ValueError("the document ends inside a text")
        return self._raw[at : at + length].decode(), at + length

    def _header(self, at: int) -> tuple[bytes | None, int | None, int]:
        mark, count = None, None
        if self._raw[at : at + 1] == b"$":
            mark, at = self._raw[at + 1 : at + 2], at + 2
        if self._raw[at : at + 1] == b"#":
            count, at = self._length(at + 1)
        return mark, count, at

    def _array(self, at: int, depth: int) -> tuple[Any, int]:
        mark, count, at = self._header(at)
        if mark in _ARRAYS:
            if count is None:
                raise ValueError("a typed array needs a count")
            dtype = np.dtype(_ARRAYS[mark])
            values = np.frombuffer(self._raw, dtype, count, at) if count else np.zeros(0, dtype)
            return values.astype(dtype.newbyteorder("=")), at + count * dtype.itemsize
        items = []
        while (len(items) < count) if count is not None else self._raw[at : at + 1] != b"]":
            item, at = self._typed(mark, at, depth + 1) if mark else self.value(at, depth + 1)
            items.append(item)
        return items, at if count is not None else at + 1

    def _object(self, at: int, depth: int) -> tuple[dict, int]:
        mark, count, at = self._header(at)
        found: dict[str, Any] = {}
        while (len(found) < count) if count is not None else self._raw[at : at + 1] != b"}":
            name, at = self._text(at)
            found[name], at = self._typed(mark, at, depth + 1) if mark else self.value(at, depth + 1)
        return found, at if count is not None else at + 1
