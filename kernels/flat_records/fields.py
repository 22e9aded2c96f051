"""What a record may hold, and the columns that reading gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from kernels.errors import KernelInputError

ABSENT_INTEGER = int(np.iinfo(np.int64).min)
ABSENT_CODE = -1
MAX_FIELDS = 64
MAX_NAME = 40
MAX_CHOICE = 16
MAX_INTEGER = 10**18 - 1
_MAX_TEXT = 2**31 - 1
_WORD = re.compile(r"[A-Za-z0-9._:-]+")


class FieldKind(IntEnum):
    """What a value must be; the numbers are those of cpu.c."""

    TOKEN = 0
    CHOICE = 1
    INTEGER = 2
    TIME = 3
    NUMBER = 4
    BOOLEAN = 5
    LETTERS = 6
    DIGITS = 7
    ADDRESS = 8


INTEGER_KINDS = (FieldKind.INTEGER, FieldKind.TIME)
NUMBER_KINDS = (FieldKind.NUMBER,)
CODE_KINDS = (FieldKind.CHOICE, FieldKind.BOOLEAN, FieldKind.LETTERS, FieldKind.DIGITS)
SPAN_KINDS = (FieldKind.TOKEN, FieldKind.LETTERS)
_GROWTH = {FieldKind.TIME: 5, FieldKind.NUMBER: 2}


@dataclass(frozen=True)
class RecordField:
    """One member of an object.

    Attributes:
        name: a word of at most MAX_NAME letters, digits, dots, underscores, colons or hyphens.
        kind: what the value must be.
        required: a record without it, or with null, is not accepted.
        choices: CHOICE, the words that are allowed, of at most MAX_CHOICE characters; a code is a position here.
        shortest, longest: TOKEN and ADDRESS, how many characters.
        length: LETTERS (at most 6) and DIGITS (at most 9), how many characters exactly.
        largest: INTEGER, from 0 to this, at most MAX_INTEGER.
        low, high: NUMBER, both included.
        refuse_card_numbers: TOKEN, a text that holds a payment card number is not accepted: 13 to 19 digits, with at most
            one of ``-._:`` between two of them, that begin as an issuer's do and end in the right check digit.
    """

    name: str
    kind: FieldKind
    required: bool = False
    choices: tuple[str, ...] = ()
    shortest: int = 1
    longest: int = 64
    length: int = 0
    largest: int = MAX_INTEGER
    low: float = -1e15
    high: float = 1e15
    refuse_card_numbers: bool = False

    def __post_init__(self) -> None:
        if not _WORD.fullmatch(self.name) or len(self.name) > MAX_NAME:
            raise KernelInputError(f"the name {self.name!r} must be 1 to {MAX_NAME} letters, digits, dots, underscores, "
                                   "colons or hyphens")  # fmt: skip
        if problem := self._problem():
            raise KernelInputError(f"field {self.name}: {problem}")

    def _problem(self) -> str | None:
        kind = FieldKind(self.kind)
        if kind == FieldKind.CHOICE:
            right = all(_WORD.fullmatch(word) and len(word) <= MAX_CHOICE for word in self.choices)
            if not self.choices or not right or len(set(self.choices)) < len(self.choices):
                return (
                    f"choices must be different words of 1 to {MAX_CHOICE} letters, digits, dots, underscores, colons or hyphens"
                )
        if kind == FieldKind.LETTERS and not 1 <= self.length <= 6:
            return f"length must be 1 to 6 letters, so that a code fits 32 bits; got {self.length}"
        if kind == FieldKind.DIGITS and not 1 <= self.length <= 9:
            return f"length must be 1 to 9 digits, so that a code fits 32 bits; got {self.length}"
        if kind == FieldKind.INTEGER and not 0 <= self.largest <= MAX_INTEGER:
            return f"largest must be 0 to {MAX_INTEGER}; got {self.largest}"
        if kind == FieldKind.NUMBER and not self.low <= self.high:
            return f"low must not exceed high; got {self.low} and {self.high}"
        if kind in (FieldKind.TOKEN, FieldKind.ADDRESS) and not 1 <= self.shortest <= self.longest < 2**31:
            return f"shortest must be 1 to longest; got {self.shortest} and {self.longest}"
        return None


@dataclass(frozen=True)
class Records:
    """n records as columns. In a record that is not accepted every field is absent.

    Attributes:
        accepted: uint8 [n], 1 where the record is surely right; 0 says that somebody else has to look.
        text: the canonical JSON of the accepted records, one after another.
        ends: int64 [n + 1]; record i is text[ends[i]:ends[i + 1]], which is empty where it is not accepted.
        integers: INTEGER and TIME fields, name -> int64 [n]; a time is microseconds since 1970 in UTC, which may be
            negative; ABSENT_INTEGER where absent.
        numbers: NUMBER fields, name -> float64 [n], NaN where absent.
        codes: name -> int32 [n], -1 where absent. CHOICE: position in `choices`; BOOLEAN: 0 or 1; LETTERS: the letters
            as digits of base 26, A = 0; DIGITS: the value.
        starts, lengths: int32 [n, T], where in `text` the values of `token_fields` lie; start 0 and length -1 where absent.
        token_fields: names of the T fields of kind TOKEN or LETTERS, in their order.
        integer_columns, code_columns: int64 [I, n] and int32 [C, n], what `integers` and `codes` hold, in the order of
            `integer_fields` and `code_fields`.
    """

    accepted: np.ndarray
    text: bytes
    ends: np.ndarray
    integers: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]
    starts: np.ndarray
    lengths: np.ndarray
    token_fields: tuple[str, ...]
    integer_columns: np.ndarray
    code_columns: np.ndarray
    integer_fields: tuple[str, ...]
    code_fields: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.accepted)


class RecordLayout:
    """Which columns the fields fill, and how one buffer holds them.

    The buffer is of 64-bit words: ends [n + 1], integers, numbers, then in halves of a word codes, starts and lengths,
    then accepted in bytes.

    Attributes:
        fields: the fields, in canonical order.
        integers, numbers, codes, spans: names of the fields that fill each sort of column.
        growth: by how many bytes a canonical record may be longer than what was read: ".5" to ".500000", "5" to "5.0".
    """

    def __init__(self, fields: Sequence[RecordField]) -> None:
        """Lay out the columns of fields.

        Raises:
            KernelInputError: none, too many, or two of one name.
        """
        names = [field.name for field in fields]
        if not 1 <= len(names) <= MAX_FIELDS or len(set(names)) < len(names):
            raise KernelInputError(f"a record has 1 to {MAX_FIELDS} fields of different names; got {names}")
        self.fields = tuple(fields)
        self.integers, self.numbers, self.codes, self.spans = (
            tuple(field.name for field in fields if field.kind in kinds)
            for kinds in (INTEGER_KINDS, NUMBER_KINDS, CODE_KINDS, SPAN_KINDS)
        )
        self.growth = sum(_GROWTH.get(field.kind, 0) for field in fields)

    def column(self, field: RecordField) -> int:
        """Return which column of its sort a field fills; -1 where it fills none."""
        for names in (self.integers, self.numbers, self.codes):
            if field.name in names:
                return names.index(field.name)
        return -1

    def span(self, field: RecordField) -> int:
        """Return which column of spans a field fills; -1 where it fills none."""
        return self.spans.index(field.name) if field.name in self.spans else -1

    def words(self, n: int) -> int:
        """Return how many 64-bit words hold the columns of n records."""
        halves = n * (len(self.codes) + 2 * len(self.spans))
        return 1 + n * (1 + len(self.integers) + len(self.numbers)) + (halves + 1) // 2 + (n + 7) // 8

    def views(self, n: int, block: np.ndarray) -> list[np.ndarray]:
        """Return the buffer's ends, integers, numbers, codes, starts, lengths and accepted, for n records."""
        integers, numbers, codes, spans = (len(names) for names in (self.integers, self.numbers, self.codes, self.spans))
        halves_at = 1 + n * (1 + integers + numbers)
        halves = block[halves_at:].view(np.int32)
        spans_at, lengths_at, end = n * codes, n * (codes + spans), n * (codes + 2 * spans)
        return [
            block[: n + 1],
            block[n + 1 : n + 1 + n * integers].reshape(integers, n),
            block[n + 1 + n * integers : halves_at].view(np.float64).reshape(numbers, n),
            halves[:spans_at].reshape(codes, n),
            halves[spans_at:lengths_at].reshape(n, spans),
            halves[lengths_at:end].reshape(n, spans),
            block[halves_at + (end + 1) // 2 :].view(np.uint8)[:n],
        ]

    def records(self, views: list[np.ndarray], text: bytes) -> Records:
        """Return views and text as records."""
        ends, integers, numbers, codes, starts, lengths, accepted = views
        # For a single record this is most of the work, so it is done at once: the constructor of a frozen dataclass sets
        # its attributes one by one, and zip takes twice as long with strict=; the shapes are those of views().
        records = object.__new__(Records)
        records.__dict__.update(
            accepted=accepted,
            text=text,
            ends=ends,
            integers=dict(zip(self.integers, integers)),  # noqa: B905
            numbers=dict(zip(self.numbers, numbers)),  # noqa: B905
            codes=dict(zip(self.codes, codes)),  # noqa: B905
            starts=starts,
            lengths=lengths,
            token_fields=self.spans,
            integer_columns=integers,
            code_columns=codes,
            integer_fields=self.integers,
            code_fields=self.codes,
        )
        return records

    def part(self, records: Records, first: int, last: int) -> Records:
        """See RecordReader.part."""
        begin, end = int(records.ends[first]), int(records.ends[last])
        rows = slice(first, last)
        lengths = records.lengths[rows].copy()
        return self.records(
            [
                records.ends[first : last + 1] - begin,
                records.integer_columns[:, rows].copy(),
                self._numbers(records)[:, rows].copy(),
                records.code_columns[:, rows].copy(),
                _shifted(records.starts[rows], lengths, -begin),
                lengths,
                records.accepted[rows].copy(),
            ],
            records.text[begin:end],
        )

    def joined(self, parts: Sequence[Records]) -> Records:
        """See RecordReader.joined."""
        before = np.cumsum([0, *(len(part.text) for part in parts)])
        if before[-1] > _MAX_TEXT:
            raise KernelInputError(f"the texts of {len(parts)} readings have {before[-1]} bytes: join less than 2 GiB")
        return self.records(
            [
                np.concatenate([[0], *(part.ends[1:] + begin for part, begin in zip(parts, before, strict=False))]),
                np.concatenate([part.integer_columns for part in parts], axis=1),
                np.concatenate([self._numbers(part) for part in parts], axis=1),
                np.concatenate([part.code_columns for part in parts], axis=1),
                np.concatenate(
                    [_shifted(part.starts, part.lengths, int(begin)) for part, begin in zip(parts, before, strict=False)]
                ),
                np.concatenate([part.lengths for part in parts]),
                np.concatenate([part.accepted for part in parts]),
            ],
            b"".join([part.text for part in parts]),
        )

    def _numbers(self, records: Records) -> np.ndarray:
        """Return float64 [numbers, n]."""
        return np.array([records.numbers[name] for name in self.numbers], np.float64).reshape(len(self.numbers), len(records))


def _shifted(starts: np.ndarray, lengths: np.ndarray, by: int) -> np.ndarray:
    """Return int32 starts in a text that begins elsewhere; those of absent fields stay 0."""
    return np.where(lengths < 0, np.int32(0), starts + np.int32(by))
