"""Feature rows as compact bytes and back, without loss: a row is stored with each decision.

What comes back has the very bits of the float32 that went in, minus zero included, except that every NaN comes back as the
one quiet NaN 0x7FC00000: a NaN says "not known" and its payload says nothing.

Format 1 of a row of F features
-------------------------------
byte 0      the version, 1
bytes 1-2   F, little-endian
bytes 3-4   the check, little-endian: see `check_of` in reference.py
then        one bit a quad of features, lowest bit first: set where any of the four is not NaN (features past the last are NaN)
then        one byte a set quad: two bits a feature, the first lowest: NaN, plus zero, byte, number
then        the bytes and numbers in the order of the features; a number is a little-endian float32, and a byte b says
    0-95      the whole number b + 1
    96        float32 of x[i - 5] / x[i - 10], in double: a mean is a sum by a count, each reported for five windows
    97        float32 of x[0] / (x[i - 20] / x[i - 25]): the amount by such a mean
    98-129    the number that was written out last among those of place b - 98, be it of two bytes or four: the windows of
              an entity that was met once hold the same amounts. The place of a float32 is the upper 5 of the 32 bits of
              its bits times 0x9E3779B1
    130-255   the whole number (b - 130) * 256 + c + 97, where c is the byte that follows
A row is packed with the first of these that fits: whole number to 96, number seen before, 96, 97, two bytes, number. Any
row can be packed, whatever its features mean; those of the project's windows come out shortest.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import library, pointer

FORMAT = 1
WIDEST = 65_535
# Rows a call of C: what it writes stays in memory of the thread, which keeps the room of the largest call.
_ROWS = 1_024
_LONG, _POINTER = ctypes.c_int64, ctypes.c_void_p
_FAULTS = (
    "is no packed row of version 1",
    "holds {found} features where {width} are expected",
    "does not match its check: it was damaged, and must be restored or computed again",
    "does not hold what a packed row holds: it was damaged, and must be restored or computed again",
)


def pack_rows(x: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Return the packed rows one after the other, and int64 [n + 1]: row i is bytes[ends[i]:ends[i + 1]].

    Args:
        x: float32 [n, F], F at most 65,535.

    Raises:
        KernelInputError: x is something else.
        MemoryError: there is no memory for the bytes.
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 2 or x.shape[1] > WIDEST:
        raise KernelInputError(f"x must be float32 [n, F] with F <= {WIDEST}; got {np.shape(x)}")
    native = _native()
    if native is None:
        from kernels.pack_rows import reference

        return reference.pack_rows(x)
    if len(x) <= _ROWS:
        ends, packed = _pack(native, x)
        return packed, np.frombuffer(bytes(8) + ends, np.int64)
    parts = [_pack(native, x[first : first + _ROWS]) for first in range(0, len(x), _ROWS)]
    starts = np.cumsum([0, *(len(packed) for _, packed in parts)])
    ends = [np.frombuffer(ends, np.int64) + start for (ends, _), start in zip(parts, starts, strict=False)]
    return b"".join([packed for _, packed in parts]), np.concatenate([[0], *ends])


def unpack_rows(packed: Sequence[bytes], width: int) -> np.ndarray:
    """Return float32 [n, width], a row of it for each packed row.

    Raises:
        KernelInputError: a row is of another width or version, or damaged; the message says which and how.
    """
    if type(width) is not int or not 0 <= width <= WIDEST:
        raise KernelInputError(f"width must be a whole number from 0 to {WIDEST}; got {width!r}")
    ends = np.zeros(len(packed) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, packed), np.int64, len(packed)), out=ends[1:])
    joined = b"".join(packed)
    if len(joined) != ends[-1]:
        raise KernelInputError("packed rows must be bytes")
    native = _native()
    if native is None:
        from kernels.pack_rows import reference

        x, row, fault = reference.unpack_rows(joined, ends, width)
    else:
        x, where = np.empty((len(packed), width), np.float32), _LONG()
        fault = native.unpack_rows(joined, pointer(ends), len(packed), width, pointer(x), ctypes.byref(where))
        row = where.value
    if fault:
        found = int.from_bytes(packed[row][1:3], "little")
        raise KernelInputError(f"packed row {row} {_FAULTS[fault - 1].format(found=found, width=width)}")
    return x


@functools.cache
def _native() -> ctypes.CDLL | None:
    native = library()
    if native is not None:
        native.pack_rows.restype = native.unpack_rows.restype = _LONG
        native.pack_rows.argtypes = [_POINTER, _LONG, _LONG, _POINTER]
        native.unpack_rows.argtypes = [_POINTER, _POINTER, _LONG, _LONG, _POINTER, _POINTER]
    return native


def _pack(native: ctypes.CDLL, x: np.ndarray) -> tuple[bytes, bytes]:
    """Return the ends, without the 0 in front, and the packed rows."""
    x, found = np.ascontiguousarray(x), _POINTER()
    size = native.pack_rows(pointer(x), len(x), x.shape[1], ctypes.byref(found))
    if size < 0:
        raise MemoryError("no memory to pack the rows: pack fewer at a time, or free memory")
    middle = 8 * len(x)
    return ctypes.string_at(found.value, middle), ctypes.string_at(found.value + middle, size)
