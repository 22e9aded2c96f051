"""Reading records in plain Python: the truth that cpu.c is tested against, and what works without a compiler."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from kernels.flat_records.fields import ABSENT_CODE, ABSENT_INTEGER, FieldKind, RecordField, RecordLayout, Records

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOKEN = re.compile(r"[A-Za-z0-9._:\-]+")
_INTEGER = re.compile(r"0|[1-9][0-9]*")
_PLAIN = re.compile(r"(-?)(?:0|[1-9][0-9]*)(\.[0-9]+)?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(?:Z|\+00:00)", re.ASCII)
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+")
MAX_NUMBER = 40
"""Characters of a number; a longer one is not accepted."""
_FIXED = (1e-4, 1e15)
"""Between these a number is printed without an exponent by whatever prints the shortest digits."""
_DIGIT_RUN = re.compile(r"[0-9](?:[-._:]?[0-9]){12,}")
_ISSUER = re.compile(r"[3-6]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720")
_DISTINCT_DIGITS = 15
"""Decimals of so many digits are all different as float64, and come back as they were."""

_FLAT_OBJECT = re.compile(rb'\{(?:[^{}\[\]"\\]|"[^"\\]*")*\}')
_SPACE = re.compile(rb"[ \t\r\n]*")


class _NotAccepted(Exception):
    pass


class _Number(str):
    """The text of a number, which JSON readers would otherwise not give back."""


class _Members(list):
    """The members of an object, (name, value)."""


def read(layout: RecordLayout, texts: bytes, starts: np.ndarray, lengths: np.ndarray, trusted: bool) -> Records:
    """Return the records; the contract is in __init__.py."""
    n = len(starts)
    views = layout.views(n, np.zeros(layout.words(n), np.int64))
    records = layout.records(views, b"")
    for columns, absent in ((records.integers, ABSENT_INTEGER), (records.numbers, np.nan), (records.codes, ABSENT_CODE)):
        for column in columns.values():
            column[:] = absent
    records.lengths[:] = -1
    text = bytearray()
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        try:
            values = _values(layout, texts[start : start + length], trusted)
        except _NotAccepted:
            pass
        else:
            records.accepted[row] = 1
            _write(layout, records, row, values, text)
        records.ends[row + 1] = len(text)
    return layout.records(views, bytes(text))


def _values(layout: RecordLayout, raw: bytes, trusted: bool) -> dict[str, tuple[str, Any]]:
    """Return name -> (canonical text, value for the column) of the fields that are present."""
    found: dict[str, Any] = {}
    for name, value in _members(raw):
        if name in found:
            raise _NotAccepted
        found[name] = value
    values = {}
    for field in layout.fields:
        value = found.pop(field.name, None)
        if value is None:
            if field.required:
                raise _NotAccepted
        else:
            values[field.name] = _READ[field.kind](field, value, trusted)
    if found:
        raise _NotAccepted
    return values


def _members(raw: bytes) -> _Members:
    if b"\\" in raw or not raw.isascii():
        raise _NotAccepted
    try:
        members = json.loads(
            raw.decode(), object_pairs_hook=_Members, parse_int=_Number, parse_float=_Number, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise _NotAccepted from None
    if not isinstance(members, _Members):
        raise _NotAccepted
    return members


def _refuse(_: str) -> None:
    raise _NotAccepted


def _write(layout: RecordLayout, records: Records, row: int, values: dict[str, tuple[str, Any]], text: bytearray) -> None:
    """Fill a row of the columns and append the record to the text."""
    separator = b"{"
    for field in layout.fields:
        if field.name not in values:
            continue
        written, value = values[field.name]
        quote = b"" if field.kind in (FieldKind.INTEGER, FieldKind.NUMBER, FieldKind.BOOLEAN) else b'"'
        text += separator + b'"' + field.name.encode() + b'":' + quote
        separator = b","
        for columns in (records.integers, records.numbers, records.codes):
            if field.name in columns:
                columns[field.name][row] = value
        if (span := layout.span(field)) >= 0:
            records.starts[row, span], records.lengths[row, span] = len(text), len(written)
        text += written.encode() + quote
    text += b"{}" if separator == b"{" else b"}"


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _NotAccepted
    return value


def _need(condition: object) -> None:
    if not condition:
        raise _NotAccepted


def _token(field: RecordField, value: Any, trusted: bool) -> tuple[str, None]:
    text = _text(value)
    _need(_TOKEN.fullmatch(text) and field.shortest <= len(text) <= field.longest)
    _need(trusted or not field.refuse_card_numbers or not holds_card_number(text))
    return text, None


def _choice(field: RecordField, value: Any, trusted: bool) -> tuple[str, int]:
    _need(_text(value) in field.choices)
    return value, field.choices.index(value)


def _integer(field: RecordField, value: Any, trusted: bool) -> tuple[str, int]:
    _need(type(value) is _Number and len(value) <= 18 and _INTEGER.fullmatch(value) and int(value) <= field.largest)
    return value, int(value)


def _time(field: RecordField, value: Any, trusted: bool) -> tuple[str, int]:
    found = _TIME.fullmatch(_text(value))
    _need(found)
    try:
        moment = datetime.fromisoformat(found[1] + "+00:00")
    except ValueError:
        raise _NotAccepted from None
    fraction = (found[2] or "").ljust(6, "0")
    shown = f".{fraction}" if int(fraction) else ""
    return f"{found[1]}{shown}Z", (moment - _EPOCH) // timedelta(microseconds=1) + int(fraction)


def _number(field: RecordField, value: Any, trusted: bool) -> tuple[str, float]:
    _need(type(value) is _Number and len(value) <= MAX_NUMBER)
    number = float(value)
    _need(math.isfinite(number) and field.low <= number <= field.high)
    if (plain := _plain_number(value, number)) is not None:
        return plain, number
    _need(trusted)
    return value, number


def _plain_number(text: str, number: float) -> str | None:
    """Return how a number is printed; None where that is not sure."""
    found = _PLAIN.fullmatch(text)
    if not found or not (number == 0 or _FIXED[0] <= abs(number) < _FIXED[1]):
        return None
    digits = text.lstrip("-").replace(".", "").lstrip("0")
    if number == 0 and (digits or (found[1] and not found[2])):  # too small, or -0, which is the integer 0
        return None
    # At a power of two the neighbours are not equally far, and printers differ in what is the shortest.
    if len(digits) > _DISTINCT_DIGITS and abs(math.frexp(number)[0]) == 0.5:
        return None
    return repr(number)


def _boolean(field: RecordField, value: Any, trusted: bool) -> tuple[str, int]:
    _need(type(value) is bool)
    return ("true", 1) if value else ("false", 0)


def _letters(field: RecordField, value: Any, trusted: bool) -> tuple[str, int]:
    text = _text(value)
    _need(len(text) == field.length and re.fullmatch("[A-Z]+", text))
    code = 0
    for letter in text:
        code = code * 26 + ord(letter) - ord("A")
    return text, code


def _digits(field: RecordField, value: Any, trusted: bool) -> tuple[str, int]:
    text = _text(value)
    _need(len(text) == field.length and re.fullmatch("[0-9]+", text))
    return text, int(text)


def _address(field: RecordField, value: Any, trusted: bool) -> tuple[str, None]:
    text = _text(value)
    _need(_ADDRESS.fullmatch(text) and field.shortest <= len(text) <= field.longest)
    if not trusted:
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            raise _NotAccepted from None
    return text, None


_READ: dict[FieldKind, Callable[[RecordField, Any, bool], tuple[str, Any]]] = {
    FieldKind.TOKEN: _token,
    FieldKind.CHOICE: _choice,
    FieldKind.INTEGER: _integer,
    FieldKind.TIME: _time,
    FieldKind.NUMBER: _number,
    FieldKind.BOOLEAN: _boolean,
    FieldKind.LETTERS: _letters,
    FieldKind.DIGITS: _digits,
    FieldKind.ADDRESS: _address,
}


def holds_card_number(text: str) -> bool:
    """Return whether a token holds 13 to 19 digits that begin and check (Luhn, ISO/IEC 7812) as a card number does."""
    for run in _DIGIT_RUN.finditer(text):
        digits = re.sub("[^0-9]", "", run[0])
        if len(digits) <= 19 and _ISSUER.match(digits) and _luhn_sum(digits) % 10 == 0:
            return True
    return False


def _luhn_sum(digits: str) -> int:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled)


def split_array(body: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Return where the items of an array lie; the contract is in __init__.py."""
    end = len(body.rstrip(b" \t\r\n"))
    at = _SPACE.match(body).end()
    if end - at < 2 or body[at : at + 1] != b"[" or body[end - 1 : end] != b"]":
        return None
    at, last = _SPACE.match(body, at + 1).end(), end - 1
    spans = []
    while at < last:
        item = _FLAT_OBJECT.match(body, at, last)
        if item is None:
            return None
        spans.append((at, item.end() - at))
        at = _SPACE.match(body, item.end(), last).end()
        if at < last:
            if body[at : at + 1] != b",":
                return None
            at = _SPACE.match(body, at + 1, last).end()
            if at == last:
                return None
    return _spans(spans)


def split_lines(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return where the lines that are not blank lie; the contract is in __init__.py."""
    spans, at = [], 0
    for line in body.split(b"\n"):
        if line.strip():
            spans.append((at, len(line)))
        at += len(line) + 1
    return _spans(spans)


def _spans(spans: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    starts, lengths = np.array(spans, np.int64).reshape(-1, 2).T.copy()
    return starts, lengths
