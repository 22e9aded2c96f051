"""Flat JSON objects, many at once, to columns and canonical text: no Python object a record.

The contract
------------
A reader is made once for the fields that a record may have, and reads n objects that lie in one text:

* `accepted` says which records are surely right. The others are not said to be wrong: a slower reader, which is the
  authority, looks at them again and explains. Accepted is a flat object, in any order and with any JSON white space,
  of known names, none twice, with all that are required, and with values as their kind (FieldKind) wants them; null is
  as good as absence where a field is not required. Escapes and anything but ASCII are not accepted.
* TOKEN is a text of letters, digits and ``._:-``; CHOICE one of the words given; INTEGER digits without a sign; TIME
  ``2026-01-31T10:15:30Z`` or ``+00:00``, with up to six decimals; BOOLEAN true or false; LETTERS and DIGITS so many
  capitals or digits; ADDRESS an IP address in its plainest form, four decimal numbers.
* NUMBER is a decimal without an exponent, of at most 40 characters, that is 0 or of a size from 0.0001 to below 10^15.
  Its value is the nearest float64, and it is written with the shortest digits that give that value, at least one of them
  behind the point; so it is exact. Powers of two of more than 15 digits are not accepted.
* `trusted` is for canonical texts that were accepted once and stored. All that canonical writers print is accepted then:
  numbers with exponents (copied as they are), addresses of every form, and tokens are not searched for card numbers.
* The canonical text of a record has the fields in the reader's order, without those that are absent and without white
  space; times end in Z, with six decimals or none.
* Columns: int64, float64 and int32 as Records says, equal to the last bit whatever reads.

Two helpers find where the records of a larger text lie: `split_array` and `split_lines`, as int64 [n] starts and lengths.

Cost: one pass over the text, one copy of it. A record whose text is canonical already is copied as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kernels.errors import KernelInputError
from kernels.flat_records import reference
from kernels.flat_records.compiled import CompiledReader, split
from kernels.flat_records.fields import ABSENT_CODE, ABSENT_INTEGER, FieldKind, RecordField, RecordLayout, Records
from kernels.native import library

__all__ = [
    "ABSENT_CODE",
    "ABSENT_INTEGER",
    "FieldKind",
    "RecordField",
    "RecordReader",
    "Records",
    "split_array",
    "split_lines",
]

_MAX_TEXT = 2**31 - 1


def split_array(body: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Return int64 [n] starts and lengths of the objects in a JSON array; None where it is not clearly one of flat objects.

    Only brackets, braces, commas and quotes are looked at: an item may still be malformed, and then a JSON reader would
    refuse the whole body. So let one decide where an item is not accepted.
    """
    if library() is None:
        return reference.split_array(body)
    return split("flat_records_split_array", body, b"}")


def split_lines(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 [n] starts and lengths of the lines (NDJSON) that hold more than white space, without their line feed."""
    if library() is None:
        return reference.split_lines(body)
    spans = split("flat_records_split_lines", body, b"\n")
    assert spans is not None
    return spans


class RecordReader:
    """Reads records of the fields given; safe for use by several threads at once.

    Attributes:
        layout: which columns the fields fill.
        fields: as they were given, which is the canonical order.
        token_fields: names of the fields whose texts `Records.starts` and `lengths` locate, in their order.
        integer_fields, code_fields: names of the rows of `Records.integer_columns` and `code_columns`.
    """

    split_array = staticmethod(split_array)
    split_lines = staticmethod(split_lines)

    def __init__(self, fields: Sequence[RecordField]) -> None:
        """Prepare for records of `fields`.

        Raises:
            KernelInputError: no fields, too many, or two of one name.
        """
        self.layout = RecordLayout(fields)
        self.fields = self.layout.fields
        self.token_fields = self.layout.spans
        self.integer_fields, self.code_fields = self.layout.integers, self.layout.codes
        self._compiled = None if library() is None else CompiledReader(self.layout)

    def read(self, texts: bytes, starts: np.ndarray, lengths: np.ndarray, *, trusted: bool = False) -> Records:
        """Return the n records that lie in `texts` at int64 [n] `starts`, each of so many bytes.

        Raises:
            KernelInputError: starts and lengths are not such arrays, a record does not lie inside `texts`, or the records
                are of 2 GiB or more together.
        """
        n = _check_spans(starts, lengths)
        total = int(lengths.sum())
        if self._compiled is None or not 0 <= total <= self._most(n):
            _check_inside(len(texts), starts, lengths)
        if total > self._most(n):
            raise _too_long(n, total)
        if self._compiled is None:
            return reference.read(self.layout, texts, starts, lengths, trusted)
        records, outside = self._compiled.read(texts, n, total, starts, lengths, trusted)
        if records is None:
            raise _outside(outside, len(texts))
        return records

    def read_many(self, bodies: Sequence[bytes], *, trusted: bool = False) -> Records:
        """Return the records of n texts of one object each; the quickest way to read a single one.

        Raises:
            KernelInputError: they are of 2 GiB or more together.
        """
        n = len(bodies)
        texts = b"".join(bodies)
        if len(texts) > self._most(n):
            raise _too_long(n, len(texts))
        lengths = None if n == 1 else np.fromiter(map(len, bodies), np.int64, n)
        if self._compiled is not None:
            return self._compiled.read(texts, n, len(texts), None, lengths, trusted)[0]
        if lengths is None:
            lengths = np.array([len(texts)])
        return reference.read(self.layout, texts, np.cumsum(lengths) - lengths, lengths, trusted)

    def part(self, records: Records, first: int, last: int) -> Records:
        """Return records `first` to `last`, without it, as if they had been read by themselves."""
        return self.layout.part(records, first, last)

    def joined(self, parts: Sequence[Records]) -> Records:
        """Return the records of several readings, one at least, as if they had been read together.

        Raises:
            KernelInputError: their texts are of 2 GiB or more together.
        """
        return self.layout.joined(parts)

    def _most(self, n: int) -> int:
        """Return of how many bytes n records may be together, so that places in their canonical text fit 32 bits."""
        return _MAX_TEXT - n * self.layout.growth


def _check_spans(starts: np.ndarray, lengths: np.ndarray) -> int:
    for name, array in (("starts", starts), ("lengths", lengths)):
        if array.dtype != np.int64 or array.ndim != 1 or not array.flags.c_contiguous or len(array) != len(starts):
            raise KernelInputError(f"{name} must be C-contiguous int64 [n], one a record; got {array.dtype} {array.shape}")
    return len(starts)


def _check_inside(size: int, starts: np.ndarray, lengths: np.ndarray) -> None:
    outside = np.flatnonzero((starts < 0) | (lengths < 0) | (starts > size) | (lengths > size - starts))
    if len(outside):
        raise _outside(int(outside[0]), size)


def _too_long(n: int, total: int) -> KernelInputError:
    return KernelInputError(f"{n} records of {total} bytes together: read less than 2 GiB at once")


def _outside(row: int, size: int) -> KernelInputError:
    return KernelInputError(f"record {row} does not lie inside the text of {size} bytes")
