"""Texts of flat records for tests: right ones in every order and spacing, and what hostile or careless senders make of them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kernels.flat_records import FieldKind, RecordField, RecordReader, Records, reference

LONG_NAME = "n" * 40
FIELDS = (
    RecordField("id", FieldKind.TOKEN, required=True, refuse_card_numbers=True),
    RecordField("at", FieldKind.TIME, required=True),
    RecordField("amount", FieldKind.INTEGER, largest=10**12),
    RecordField("kind", FieldKind.CHOICE, choices=("card", "cash", "a-word-of-16-chr", "c", "cards")),
    RecordField("id_of_another", FieldKind.TOKEN, shortest=2, longest=5),
    RecordField("country", FieldKind.LETTERS, length=2),
    RecordField("code", FieldKind.DIGITS, length=4),
    RecordField("place", FieldKind.NUMBER, low=-180, high=180),
    RecordField("present", FieldKind.BOOLEAN),
    RecordField("ip", FieldKind.ADDRESS, longest=45),
    RecordField(LONG_NAME, FieldKind.NUMBER, low=-1e18, high=1e18),
    RecordField("i", FieldKind.INTEGER),
    RecordField("until", FieldKind.TIME),
)
READER = RecordReader(FIELDS)

# Raw JSON values of each kind: what is right in some readers' eyes, and what is wrong in all.
_TOKENS = ["a", "x.y_z:0-9", "a" * 64, "a" * 65, "", "ab", "abcde", "abcdef", "a b", "a\n", "ü", "a\u2028", "\u0000", 'a"b']
_CARDS = [
    "4111111111111111", "x4111-1111-1111-1111y", "4111--1111-1111-1111", "2221000000000009", "2720999999999996",
    "5500005555555559", "378282246310005", "4222222222222", "4111111111111112", "20260131101530123", "4" * 20, "4" * 64,
    "1-4111111111111111", "4111111111111111-4", "411111111111.1111_", "ab4111.1111.1111.1111",
]  # fmt: skip
_TIMES = [
    "2026-01-31T10:15:30Z", "2026-01-31T10:15:30+00:00", "2026-01-31T10:15:30.5Z", "2026-01-31T10:15:30.000000Z",
    "2026-01-31T10:15:30.000001+00:00", "2026-01-31T10:15:30.123456Z", "2026-01-31T10:15:30.1234567Z", "2026-01-31T10:15:30.Z",
    "2026-02-29T10:15:30Z", "2024-02-29T10:15:30Z", "2100-02-29T10:15:30Z", "2000-02-29T10:15:30Z", "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T23:60:00Z",
    "2026-01-31T23:59:60Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
    "1969-12-31T23:59:59.9Z",
    "2026-01-31T10:15:30", "2026-01-31T10:15:30z", "2026-01-31 10:15:30Z", "2026-01-31T10:15:30-00:00",
    "2026-01-31T10:15:30+01:00",
    "2026-1-31T10:15:30Z", "2026-01-31T10:15:30+0000", "2026-01-31T1é:15:30Z", "2026-01-31",
]  # fmt: skip
NUMBERS = [
    "0", "-0", "0.0", "-0.0", "0.000", "1", "-1", "00", "01", "-01", "1.", ".1", "-", "+1", "1.0", "1.50", "12.500000",
    "0.1", "-0.1",
    "0.0001", "0.00009", "0.00012300", "1e5", "1E-7", "1e+2", "1e", "0e0", "5e-324", "1e400", "-1e400", "179.99999999999999",
    "180.00000000000001", "180.0000000000001", "52.370216123456789", "52.37021612345679", "0.30000000000000004",
    "0.1000000000000000055511151231257827", "2.5000000000000000", "0.50000000000000000", "64.000000000000000",
    "3.0000000000000001",
    "123456789012345", "999999999999999.9", "999999999999999", "1000000000000000", "123456789012345.67", "100000000000000.03",
    "0." + "0" * 37, "0." + "0" * 38, "0." + "0" * 39, "0." + "0" * 36 + "1", "1" * 19, "1" * 30, "9" * 18, "9" * 17,
    "NaN", "Infinity", "1_0",
    "0x1", "1 2", "1.2.3", "--1", "1-1",
]  # fmt: skip
_WHOLE = ["0", "1", "1" + "0" * 12, "1000000000001", "999999999999999999", "1000000000000000000", "9" * 19, "9" * 20, "-1", "007"]
_ADDRESSES = [
    "1.2.3.4", "0.0.0.0", "255.255.255.255", "256.1.1.1", "01.2.3.4", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3",
    "1.2.3.1234",
    "::1", "2001:db8::8a2e:370:7334", "::ffff:1.2.3.4", ":::", "fe80::1%eth0", "x", "1.2.3.4 ",
]  # fmt: skip
_OTHERS = [
    "null",
    "true",
    "false",
    "nul",
    "tru",
    "falsey",
    "True",
    "[]",
    "{}",
    '[{"a":[[1]]}]',
    '""',
    '"x',
    "'x'",
    "",
    '"\\u0041B"',
    '"é"',
]

VALUES: dict[FieldKind, list[str]] = {
    FieldKind.TOKEN: [json.dumps(text, ensure_ascii=False) for text in _TOKENS + _CARDS],
    FieldKind.CHOICE: [
        json.dumps(text) for text in ("card", "cash", "a-word-of-16-chr", "a-word-of-16-chrs", "c", "cards", "car", "")
    ],
    FieldKind.INTEGER: _WHOLE + NUMBERS,
    FieldKind.TIME: [json.dumps(text, ensure_ascii=False) for text in _TIMES],
    FieldKind.NUMBER: NUMBERS,
    FieldKind.BOOLEAN: ["true", "false"],
    FieldKind.LETTERS: ['"AA"', '"ZZ"', '"DE"', '"D"', '"DEU"', '"de"', '"D1"', '"@A"', '"A["'],
    FieldKind.DIGITS: ['"0000"', '"9999"', '"5411"', '"541"', '"54111"', '"54a1"', '"-411"', "5411"],
    FieldKind.ADDRESS: [json.dumps(text) for text in _ADDRESSES],
}
_TOKEN_CHARACTERS = st.text("ABCxyz0123456789._:-", min_size=1, max_size=24)
_PARTS = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
    b"0",
    b"-",
    b".",
    b"e",
    b"\x00",
    b"\xff",
    b"null",
    b'"id":"a",',
]


@cache
def right_value(field: RecordField) -> st.SearchStrategy[str]:
    """Raw JSON of a value that every reader takes."""
    match field.kind:
        case FieldKind.TOKEN:
            fitting = _TOKEN_CHARACTERS.map(lambda text: text[: field.longest].rjust(field.shortest, "x"))
            return fitting.filter(lambda text: not reference.holds_card_number(text)).map(json.dumps)
        case FieldKind.CHOICE:
            return st.sampled_from(field.choices).map(json.dumps)
        case FieldKind.INTEGER:
            return st.integers(0, field.largest).map(str)
        case FieldKind.TIME:
            return st.datetimes().map(lambda moment: f'"{moment.isoformat()}Z"')
        case FieldKind.NUMBER:
            low, high = max(int(field.low), -(10**6)), min(int(field.high), 10**6)
            return st.integers(low, high).map(str) | st.integers(low * 10**4, high * 10**4).map(lambda whole: repr(whole / 1e4))
        case FieldKind.BOOLEAN:
            return st.sampled_from(["true", "false"])
        case FieldKind.LETTERS | FieldKind.DIGITS:
            characters = "ABYZ" if field.kind == FieldKind.LETTERS else "0159"
            return st.text(characters, min_size=field.length, max_size=field.length).map(json.dumps)
        case FieldKind.ADDRESS:
            return st.ip_addresses(v=4).map(lambda address: f'"{address}"')


@st.composite
def member_lists(draw: st.DrawFn, fields: tuple[RecordField, ...] = FIELDS) -> list[tuple[str, str]]:
    """Members (name, raw value) of a right record, in any order."""
    chosen = [field for field in fields if field.required or draw(st.booleans())]
    return [(field.name, draw(right_value(field))) for field in draw(st.permutations(chosen))]


@st.composite
def texts(draw: st.DrawFn, members: list[tuple[str, str]]) -> bytes:
    """An object of these members, with any white space."""
    spaces = st.sampled_from([""] * 4 + [" ", "\n\t \r"]) if draw(st.booleans()) else st.just("")
    inner = ",".join(
        "".join((draw(spaces), json.dumps(name), draw(spaces), ":", draw(spaces), value, draw(spaces))) for name, value in members
    )
    return "".join((draw(spaces), "{", inner or draw(spaces), "}", draw(spaces))).encode()


@st.composite
def right_texts(draw: st.DrawFn, fields: tuple[RecordField, ...] = FIELDS) -> bytes:
    """A record that has to be accepted."""
    return draw(texts(draw(member_lists(fields))))


@st.composite
def odd_texts(draw: st.DrawFn, fields: tuple[RecordField, ...] = FIELDS) -> bytes:
    """A record with odd values, names, repetitions, nesting, changed bytes or a missing end; some are right all the same."""
    members = draw(member_lists(fields))
    by_name = {field.name: field for field in fields}
    for at in draw(st.lists(st.integers(0, len(members) - 1), max_size=3)):
        name = members[at][0]
        odd = VALUES[by_name[name].kind] * 2 + _OTHERS
        members[at] = (name, draw(st.sampled_from(odd)))
    if draw(st.integers(0, 5)) == 0:
        members.append(
            draw(st.sampled_from([members[0], ("unknown", "1"), ("", "1"), ("ID", '"a"'), ("nn", "1"), ("id ", '"a"')]))
        )
    raw = draw(texts(members))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.sampled_from(_PARTS)) + raw[at + draw(st.integers(0, 3)) :]
    return raw[: draw(st.integers(0, len(raw)))] if draw(st.integers(0, 15)) == 0 else raw


def placed(bodies: list[bytes]) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return the bodies as one text with starts and lengths."""
    lengths = np.array([len(body) for body in bodies], np.int64)
    return b"".join(bodies), np.cumsum(lengths) - lengths, lengths


def read_both(bodies: list[bytes], *, trusted: bool = False, reader: RecordReader = READER) -> Records:
    """Return what the compiled reader says, after the reference said the very same."""
    records = reader.read_many(bodies, trusted=trusted)
    assert_same(records, reference.read(reader.layout, *placed(bodies), trusted), bodies)
    return records


def assert_same(ours: Records, truth: Records, bodies: list[bytes]) -> None:
    """Check that two readers gave the same, to the last bit."""
    differing = [body for body, one, other in zip(bodies, ours.accepted, truth.accepted, strict=True) if one != other]
    assert differing == [], "one accepts, the other does not"
    assert [text_of(ours, i) for i in range(len(bodies))] == [text_of(truth, i) for i in range(len(bodies))]
    assert ours.token_fields == truth.token_fields
    for name, one, other in zip(_COLUMNS, _columns(ours), _columns(truth), strict=True):
        assert one.keys() == other.keys()
        for field in one:
            assert one[field].dtype == other[field].dtype and one[field].shape == other[field].shape
            assert one[field].tobytes() == other[field].tobytes(), (name, field)


_COLUMNS = ("arrays", "integers", "numbers", "codes")


def _columns(records: Records) -> list[dict[str, Any]]:
    arrays = {name: getattr(records, name) for name in ("accepted", "ends", "starts", "lengths")}
    return [arrays, records.integers, records.numbers, records.codes]


def arrays_of(records: Records) -> tuple[np.ndarray, ...]:
    """Return all that was read as arrays."""
    return (np.frombuffer(records.text, np.uint8), *(column for columns in _columns(records) for column in columns.values()))


def text_of(records: Records, row: int) -> bytes:
    """Return the canonical text of a record."""
    return records.text[records.ends[row] : records.ends[row + 1]]
