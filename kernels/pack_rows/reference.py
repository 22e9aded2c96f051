"""The truth: one feature after the other; the format is told in __init__.py."""

from __future__ import annotations

import struct

import numpy as np

NAN, ZERO, BYTE, NUMBER = range(4)
HEADER = 5
SMALL, MEAN, RATIO, SEEN, TWO = 96, 96, 97, 98, 130
_TWO_FIRST, _TWO_LAST = SMALL + 1, SMALL + (256 - TWO) * 256
_WORD = (1 << 64) - 1
_MULTIPLIER = 0x9E3779B97F4A7C15
_LARGEST = 2.0**127


class Damaged(Exception):
    """A packed row does not follow the format; `fault` is its number in __init__.py."""

    def __init__(self, fault: int) -> None:
        super().__init__(fault)
        self.fault = fault


def check_of(body: bytes) -> int:
    """Return 16 bits over what follows the check: words of 8 bytes, multiplied and rotated, the last filled with zeros."""
    state = len(body) + 1
    for at in range(0, len(body), 8):
        state = (state ^ int.from_bytes(body[at : at + 8], "little")) * _MULTIPLIER & _WORD
        state = (state << 32 | state >> 32) & _WORD
    return state * _MULTIPLIER >> 48 & 0xFFFF


def pack_rows(x: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Return the packed rows and their ends."""
    rows = [_pack(row) for row in x]
    return b"".join(rows), np.cumsum([0, *map(len, rows)], dtype=np.int64)


def unpack_rows(joined: bytes, ends: np.ndarray, width: int) -> tuple[np.ndarray, int, int]:
    """Return the rows, the first row that cannot be read, and its fault; 0 where there is none."""
    x = np.empty((len(ends) - 1, width), np.float32)
    for row, (start, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        try:
            x[row] = _unpack(joined[start:end], width)
        except Damaged as damage:
            return x, row, damage.fault
    return x, 0, 0


class _Seen:
    """What was written out lately, in 32 places; a number has but one where it may be, and takes it from another."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    def put(self, bits: int) -> None:
        self._places[_place(bits)] = bits

    def find(self, bits: int) -> int | None:
        return _place(bits) if self._places.get(_place(bits)) == bits else None

    def at(self, place: int) -> int | None:
        return self._places.get(place)


def _place(bits: int) -> int:
    return (bits * 0x9E3779B1 & 0xFFFFFFFF) >> 27


def _pack(row: np.ndarray) -> bytes:
    width, values = len(row), row.astype(np.float64).tolist()
    bits = row.view(np.uint32).tolist() if row.flags.c_contiguous else np.ascontiguousarray(row).view(np.uint32).tolist()
    seen, codes, content = _Seen(), [], bytearray()
    for i in range(width):
        code, written = _write(values, bits[i], i, seen)
        codes.append(code)
        content += written
    codes += [NAN] * (-width % 4)
    quads = [codes[q] | codes[q + 1] << 2 | codes[q + 2] << 4 | codes[q + 3] << 6 for q in range(0, len(codes), 4)]
    mask = sum(1 << q for q, quad in enumerate(quads) if quad).to_bytes((len(quads) + 7) // 8, "little")
    body = mask + bytes(quad for quad in quads if quad) + content
    return struct.pack("<BHH", 1, width, check_of(body)) + body


def _write(values: list[float], bits: int, i: int, seen: _Seen) -> tuple[int, bytes]:
    """Return the code of feature i and its bytes."""
    value = values[i]
    if value != value:
        return NAN, b""
    if bits == 0:
        return ZERO, b""
    whole = value > 0 and value <= _TWO_LAST and value == int(value)
    if whole and value <= SMALL:
        return BYTE, bytes([int(value) - 1])
    if (place := seen.find(bits)) is not None:
        return BYTE, bytes([SEEN + place])
    for code, quotient in ((MEAN, mean_at), (RATIO, ratio_at)):
        if quotient(values, i) == bits:
            return BYTE, bytes([code])
    seen.put(bits)
    if whole:
        high, low = divmod(int(value) - _TWO_FIRST, 256)
        return BYTE, bytes([TWO + high, low])
    return NUMBER, struct.pack("<I", bits)


def _quotient(a: float, b: float) -> float | None:
    """a / b, where that is a number far from the largest."""
    if a != a or b != b or b == 0 or not abs(a) < _LARGEST or not abs(b) < _LARGEST:
        return None
    quotient = a / b
    return quotient if abs(quotient) < _LARGEST else None


def _bits(value: float | None) -> int | None:
    return None if value is None else struct.unpack("<I", struct.pack("<f", value))[0]


def mean_at(x: list[float], i: int) -> int | None:
    """Return the bits of float32 x[i - 5] / x[i - 10], or None where there is no such number."""
    return None if i < 10 else _bits(_quotient(x[i - 5], x[i - 10]))


def ratio_at(x: list[float], i: int) -> int | None:
    """Return the bits of float32 x[0] / (x[i - 20] / x[i - 25]), or None where there is no such number."""
    mean = None if i < 25 else _quotient(x[i - 20], x[i - 25])
    return None if mean is None else _bits(_quotient(x[0], mean))


def _unpack(packed: bytes, width: int) -> np.ndarray:
    if len(packed) < HEADER or packed[0] != 1:
        raise Damaged(1)
    _, found, check = struct.unpack_from("<BHH", packed)
    if found != width:
        raise Damaged(2)
    body = packed[HEADER:]
    if check_of(body) != check:
        raise Damaged(3)
    quads = (width + 3) // 4
    mask_bytes = (quads + 7) // 8
    mask = int.from_bytes(body[:mask_bytes], "little")
    if len(body) < mask_bytes + mask.bit_count() or mask >> quads:
        raise Damaged(4)
    codes, at = [], mask_bytes
    for quad in range(quads):
        byte = 0
        if mask >> quad & 1:
            byte = body[at]
            at += 1
        codes += [byte >> shift & 3 for shift in (0, 2, 4, 6)]
    if any(codes[width:]):
        raise Damaged(4)
    content, values, seen = _Content(body, at), [], _Seen()
    for i in range(width):
        bits = _read(codes[i], values, i, seen, content)
        values.append(struct.unpack("<f", struct.pack("<I", bits))[0])
        content.bits.append(bits)
    if content.at != len(body):
        raise Damaged(4)
    return np.array(content.bits, np.uint32).view(np.float32)


class _Content:
    """The bytes and numbers of a row, read from the front; the bits that were read."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body, self.at = body, at
        self.bits: list[int] = []

    def take(self, size: int) -> int:
        if self.at + size > len(self._body):
            raise Damaged(4)
        self.at += size
        return int.from_bytes(self._body[self.at - size : self.at], "little")


def _read(code: int, values: list[float], i: int, seen: _Seen, content: _Content) -> int:
    """Return the bits of feature i."""
    if code == NAN:
        return 0x7FC00000
    if code == ZERO:
        return 0
    if code == NUMBER:
        bits = content.take(4)
        if bits & 0x7FFFFFFF > 0x7F800000:  # NaN has a code of its own
            raise Damaged(4)
        seen.put(bits)
        return bits
    byte = content.take(1)
    if byte < SMALL:
        return _bits(byte + 1.0)
    if byte < SEEN:
        bits = (mean_at if byte == MEAN else ratio_at)(values, i)
        if bits is None:
            raise Damaged(4)
        return bits
    if byte < TWO:
        bits = seen.at(byte - SEEN)
        if bits is None:
            raise Damaged(4)
        return bits
    bits = _bits(float((byte - TWO) * 256 + content.take(1) + _TWO_FIRST))
    seen.put(bits)
    return bits
