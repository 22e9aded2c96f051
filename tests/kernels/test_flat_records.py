"""Flat records: the compiled reader is the reference, and the reference does what the contract says."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.flat_records import (
    ABSENT_CODE,
    ABSENT_INTEGER,
    FieldKind,
    RecordField,
    RecordReader,
    reference,
    split_array,
    split_lines,
)
from kernels.native import library
from tests.kernels.flat_texts import (
    FIELDS,
    LONG_NAME,
    NUMBERS,
    READER,
    VALUES,
    odd_texts,
    placed,
    read_both,
    right_texts,
    text_of,
)
from tests.strategies import examples

MINIMAL = b'"id":"a","at":"2026-01-31T10:15:30Z"'
KIND_OF = {field.name: field.kind for field in FIELDS}


@pytest.fixture(autouse=True)
def _compiled():
    assert library() is not None, "the C kernels were not built: python setup.py build_ext --inplace"


def with_member(name: str, value: str) -> bytes:
    return b"{" + MINIMAL + f',"{name}":{value}}}'.encode()


def is_accepted(body: bytes, *, trusted: bool = False) -> bool:
    return bool(read_both([body], trusted=trusted).accepted[0])


# --- compiled against the reference ------------------------------------------------------------------------------------


@examples(100)
@given(st.lists(right_texts(), max_size=5), st.booleans())
def test_right_records_are_accepted(bodies: list[bytes], trusted: bool):
    records = read_both(bodies, trusted=trusted)
    assert len(records) == len(bodies) and records.accepted.all()
    for row, body in enumerate(bodies):
        canonical = text_of(records, row)
        assert list(json.loads(canonical)) == [field.name for field in FIELDS if field.name in json.loads(body)]
        assert text_of(read_both([canonical]), 0) == canonical, "canonical text stays as it is"


@examples(180)
@given(st.lists(odd_texts(), min_size=1, max_size=5), st.booleans())
def test_odd_records(bodies: list[bytes], trusted: bool):
    read_both(bodies, trusted=trusted)


@examples(100)
@given(st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_arbitrary_bytes(bodies: list[bytes], trusted: bool):
    assert not read_both(bodies, trusted=trusted).accepted.any()


@pytest.mark.parametrize("trusted", [False, True])
def test_every_odd_value_of_every_field(trusted: bool):
    bodies = [with_member(field.name, value) for field in FIELDS for value in VALUES[field.kind]]
    bodies += [body.replace(MINIMAL[:8], b'"x":1') for body in bodies[:5]]
    records = read_both(bodies, trusted=trusted)
    assert 0 < records.accepted.sum() < len(bodies)


@examples(200)
@given(st.floats(-1e17, 1e17) | st.floats(-200, 200) | st.integers(-60, 60).map(lambda power: 2.0**power), st.integers(0, 20))
def test_numbers_of_every_length(number: float, decimals: int):
    texts = [repr(number), f"{number:.{decimals}f}", f"{number:.{decimals}e}", f"{number:.17g}"]
    records = read_both([with_member(LONG_NAME, text) for text in texts])
    for row, text in enumerate(texts):
        if records.accepted[row]:
            assert records.numbers[LONG_NAME][row] == float(text)
            assert text_of(records, row).endswith(f'"{LONG_NAME}":{float(text)!r}}}'.encode())
    if 1e-4 <= abs(number) < 1e15 and "e" not in repr(number) and len(repr(number)) < 16:
        assert records.accepted[0]


@examples(60)
@given(st.lists(right_texts() | odd_texts(), max_size=4), st.binary(max_size=9), st.randoms(use_true_random=False))
def test_what_lies_around_a_record_is_not_looked_at(bodies: list[bytes], filler: bytes, random):
    expected = [(read_both([body]).accepted[0], text_of(read_both([body]), 0)) for body in bodies]
    order = list(range(len(bodies)))
    random.shuffle(order)
    text, starts = filler, {}
    for i in order:
        starts[i] = len(text)
        text += bodies[i] + filler
    lengths = np.array([len(body) for body in bodies], np.int64)
    records = READER.read(text, np.array([starts[i] for i in range(len(bodies))], np.int64), lengths)
    assert [(records.accepted[i], text_of(records, i)) for i in range(len(bodies))] == expected


def test_every_end_of_a_record():
    """Each shorter text, at the very end of the buffer."""
    body = b'{"at" : "2026-01-31T10:15:30.5+00:00","country":"DE","present":false,"ip":"1.2.3.4","place":-1.50,"id":"a"}'
    cut = [body[:end] for end in range(len(body))]
    records = read_both(cut + [part + b"}" for part in cut])
    assert np.flatnonzero(records.accepted).tolist() == [2 * len(body) - 1]


@pytest.mark.parametrize("depth", [1, 20, 100_000])
def test_nesting(depth: int):
    bodies = [b"[" * depth, b"{" * depth, with_member("id", "[" * depth), b'{"a":' * depth + b"1" + b"}" * depth]
    assert not read_both(bodies).accepted.any()


def test_growth_of_many_records_has_room():
    grown = b'{"at":"2026-01-31T10:15:30.5Z","id":"a","place":5,"until":"2026-01-31T10:15:30.5Z","' + LONG_NAME.encode() + b'":7}'
    records = read_both([grown] * 500)
    assert records.accepted.all() and records.ends[-1] == 500 * (len(grown) + READER.layout.growth)


# --- what the columns say -----------------------------------------------------------------------------------------------


def test_columns():
    body = (
        b' {"present":true,"code":"0042","country":"DE","id":"c-1","kind":"cash","at":"1969-12-31T23:59:59.25+00:00",'
        b'"amount":12,"place":-52.5200,"ip":"10.0.0.1","until":null}\n'
    )
    records = read_both([b"{}", body])
    assert records.accepted.tolist() == [0, 1]
    assert text_of(records, 1) == (
        b'{"id":"c-1","at":"1969-12-31T23:59:59.250000Z","amount":12,"kind":"cash","country":"DE","code":"0042","place":-52.52,'
        b'"present":true,"ip":"10.0.0.1"}'
    )
    assert {name: column.tolist() for name, column in records.integers.items()} == {
        "at": [ABSENT_INTEGER, -750_000], "amount": [ABSENT_INTEGER, 12], "i": [ABSENT_INTEGER] * 2,
        "until": [ABSENT_INTEGER] * 2,
    }  # fmt: skip
    np.testing.assert_array_equal(records.numbers["place"], [np.nan, -52.52])
    assert {name: column.tolist() for name, column in records.codes.items()} == {
        "kind": [ABSENT_CODE, 1], "country": [ABSENT_CODE, 3 * 26 + 4], "code": [ABSENT_CODE, 42], "present": [ABSENT_CODE, 1],
    }  # fmt: skip
    assert records.token_fields == READER.token_fields == ("id", "id_of_another", "country")
    assert [[records.text[s : s + n] if n >= 0 else None for s, n in zip(*spans, strict=True)]
            for spans in zip(records.starts.tolist(), records.lengths.tolist(), strict=True)] == [
        [None, None, None], [b"c-1", None, b"DE"],
    ]  # fmt: skip


@examples(100)
@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59, 999999)))
def test_every_time(moment: datetime):
    records = read_both([with_member("until", f'"{moment.isoformat()}Z"')])
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert records.integers["until"][0] == since // timedelta(microseconds=1)


def test_results_are_the_callers_own():
    first = READER.read_many([b"{" + MINIMAL + b"}"])
    kept = [first.text, first.ends.copy(), first.lengths.copy(), first.integers["at"].copy()]
    READER.read_many([with_member("i", "5")])
    for before, now in zip(kept, [first.text, first.ends, first.lengths, first.integers["at"]], strict=True):
        np.testing.assert_array_equal(before, now)


@pytest.mark.parametrize("bodies", [[], [b""], [b" "], [b"", b"{" + MINIMAL + b"}", b""]])
def test_nothing_to_read(bodies: list[bytes]):
    records = read_both(bodies)
    assert records.accepted.tolist() == [len(body) > 1 for body in bodies]
    assert len(records) == len(bodies) and records.starts.shape == (len(bodies), 3)


def test_a_record_without_required_fields_may_be_empty():
    reader = RecordReader([RecordField("a", FieldKind.BOOLEAN)])
    records = read_both([b"{}", b" { } ", b"{,}", b'{"a":null}', b'{"a":true}', b"{}}", b"{{}", b"}"], reader=reader)
    assert [text_of(records, i) for i in range(5)] == [b"{}", b"{}", b"", b"{}", b'{"a":true}']
    assert not records.accepted[5:].any()


def test_bytes_of_other_types_are_read_too():
    bodies = [bytearray(b"{" + MINIMAL + b"}"), memoryview(b"{" + MINIMAL + b"}")]
    assert READER.read_many(bodies).accepted.all() and READER.read_many(bodies[:1]).accepted.all()


# --- what is accepted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", [
    '"id":"b"', '"unknown":1', '"":1', '"ID":"a"', '"i\\u0064":"a"', '"nn":1', "nn:1", "", '"i":1,', ',"i":1', '"i" 1', '"i":1;',
    '"i":1 "code":"1234"', '"i":', '"at":null', '"until":nulll', '"until":nul', '"until":null,"until":"2026-01-31T10:15:30Z"',
    '"i":1}', '{"i":1', '"i":[1]', '"i":{"i":1}', '"i":1/**/', "'i':1", '"i\x00":1', '"i":1\x0b', '"i":1\u00a0',
])  # fmt: skip
def test_malformed_or_doubtful_members(member: str):
    assert not is_accepted(b"{" + MINIMAL + b"," + member.encode() + b"}")


@pytest.mark.parametrize("body", [
    b"", b" ", b"{}", b"null", b"1", b'"{}"', b"[]", b"[{" + MINIMAL + b"}]", b"{" + MINIMAL, MINIMAL + b"}",
    b"{" + MINIMAL + b"} x",
    b"{" + MINIMAL + b"}}", b"{" + MINIMAL + b"},", b"\xef\xbb\xbf{" + MINIMAL + b"}", b"{" + MINIMAL + b"}\x00", b'{"id":"a"}',
    b"\x0c{" + MINIMAL + b"}", ("{" + MINIMAL.decode() + "}").encode("utf-16"), b'{"id":"a","at":"2026-01-31T10:15:30Z}',
])  # fmt: skip
def test_what_is_no_record(body: bytes):
    assert not is_accepted(body) and not is_accepted(body, trusted=True)


@pytest.mark.parametrize(("text", "value", "printed"), [
    ("0", 0.0, "0.0"), ("-0.0", -0.0, "-0.0"), ("0.000", 0.0, "0.0"), ("52", 52.0, "52.0"), ("52.520000", 52.52, "52.52"),
    ("0.0001", 0.0001, "0.0001"), ("999999999999999", 999999999999999.0, "999999999999999.0"),
    ("52.370216123456789", 52.37021612345679, "52.37021612345679"),
    ("0.30000000000000004", 0.30000000000000004, "0.30000000000000004"),
    ("100000000000000.03", 100000000000000.03, "100000000000000.03"), ("3.0000000000000001", 3.0, "3.0"),
    ("0.1000000000000000055511151231257827", 0.1, "0.1"),
])  # fmt: skip
def test_numbers_are_exact_and_printed_shortest(text: str, value: float, printed: str):
    records = read_both([with_member(LONG_NAME, text)])
    assert records.numbers[LONG_NAME].tobytes() == np.float64(value).tobytes()
    assert text_of(records, 0).endswith(f":{printed}}}".encode())


@pytest.mark.parametrize(
    "text", ["1e5", "-0", "0.00009", "1000000000000000", "2.0000000000000000", "5e-324", "0." + "0" * 36 + "1"]
)
def test_numbers_that_may_be_printed_otherwise_are_left_to_others(text: str):
    assert not is_accepted(with_member(LONG_NAME, text))
    records = read_both([with_member(LONG_NAME, text)], trusted=True)
    assert records.accepted[0] and records.numbers[LONG_NAME][0] == float(text)
    assert text_of(records, 0).endswith(f":{text}}}".encode())


@pytest.mark.parametrize("text", ["1e400", "01", "1.", ".1", "-", "1e", "NaN", "0." + "0" * 39, "9e18"])
def test_numbers_that_nobody_takes(text: str):
    assert not is_accepted(with_member(LONG_NAME, text)) and not is_accepted(with_member(LONG_NAME, text), trusted=True)


@pytest.mark.parametrize("token", [
    "4111111111111111", "x4111-1111-1111-1111", "2221000000000009", "378282246310005", "4222222222222", "1--4111.1111.1111.1111",
])  # fmt: skip
def test_tokens_that_hold_a_card_number(token: str):
    assert reference.holds_card_number(token)
    body = b"{" + MINIMAL.replace(b'"a"', json.dumps(token).encode()) + b"}"
    assert not is_accepted(body) and is_accepted(body, trusted=True)


@pytest.mark.parametrize("token", [
    "4111111111111112", "4111--1111-1111-1111", "41111111-1111", "20260131101530123", "1-4111111111111111", "4" * 20, "4" * 64,
])  # fmt: skip
def test_tokens_that_look_a_little_like_one(token: str):
    assert not reference.holds_card_number(token)
    assert is_accepted(b"{" + MINIMAL.replace(b'"a"', json.dumps(token).encode()) + b"}")


@examples(200)
@given(st.text("0123456789-._:a", min_size=13, max_size=40), st.integers(0, 40))
def test_card_numbers_are_found_as_the_reference_finds_them(text: str, at: int):
    # The check digit that makes it one, where the reference finds that there is one.
    texts = [text[:at] + digit + text[at + 1 :] for digit in "0123456789"]
    read_both([b"{" + MINIMAL.replace(b'"a"', json.dumps(token).encode()) + b"}" for token in texts])


def test_trusted_reads_addresses_of_every_form():
    for address in ("::1", "2001:db8::8a2e:370:7334", "1.2.3.4"):
        assert is_accepted(with_member("ip", f'"{address}"'), trusted=True)
    assert not is_accepted(with_member("ip", '"::1%eth0"'), trusted=True)


def test_every_odd_number_is_met_as_the_value_of_a_number():
    accepted = {text for text in NUMBERS if is_accepted(with_member("place", text))}
    assert {"0", "0.0001", "1.50", "52.370216123456789"} <= accepted and accepted.isdisjoint({"-0", "01", "1e5", "NaN", "181"})


# --- larger texts ---------------------------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b'"', b"\\", b" ", b"\n", b'{"a":1}', b'{"b":"}"}', b'{"c":"[{"}', b"\r\n", b"\x0b"]
)


def assert_same_spans(ours, truth) -> None:
    assert (ours is None) == (truth is None)
    for one, other in zip(ours or (), truth or (), strict=True):
        assert one.dtype == np.int64 and one.tolist() == other.tolist()


@examples(250)
@given(st.lists(_PIECES, max_size=12), st.booleans())
def test_items_are_found_as_the_reference_finds_them(pieces: list[bytes], is_joined: bool):
    body = b"[" + b",".join(pieces) + b"]" if is_joined else b"".join(pieces)
    assert_same_spans(split_array(body), reference.split_array(body))
    assert_same_spans(split_lines(body), reference.split_lines(body))


@examples(200)
@given(st.lists(right_texts(), max_size=3), st.integers(0, 130), st.data())
def test_items_far_into_a_text(bodies: list[bytes], before: int, data: st.DataObject):
    """What stands at any place of a block of 64 bytes, in a text and between them."""
    body = b"[" + b" " * before + b",".join(bodies) + b"]"
    at = data.draw(st.integers(0, len(body)))
    for changed in (body, body[:at] + data.draw(_PIECES) + body[at + data.draw(st.integers(0, 2)) :]):
        assert_same_spans(split_array(changed), reference.split_array(changed))


@given(st.lists(right_texts(), max_size=6), st.sampled_from([b"", b" ", b"\n\t"]))
def test_items_of_an_array(bodies: list[bytes], space: bytes):
    body = space + b"[" + (space + b"," + space).join(bodies) + space + b"]" + space
    starts, lengths = READER.split_array(body)
    assert [json.loads(body[s : s + n]) for s, n in zip(starts, lengths, strict=True)] == json.loads(body)
    assert READER.read(body, starts, lengths).text == READER.read_many(bodies).text


@pytest.mark.parametrize("count", [0, 1, 2, 100, 1000])
def test_many_small_items(count: int):
    array, lines = b"[" + b",".join([b"{}"] * count) + b"]", b"{}\n" * count
    assert_same_spans(split_array(array), reference.split_array(array))
    assert_same_spans(split_lines(lines), reference.split_lines(lines))
    assert len(split_array(array)[0]) == len(split_lines(lines)[0]) == count


@pytest.mark.parametrize("body", [
    b"", b"[", b"]", b"{}", b"[]x", b"[{}", b"{}]", b"[{},]", b"[,{}]", b"[{} {}]", b"[1]", b"[[]]", b'[{"a":{}}]', b'[{"a":[]}]',
    b'[{"a":"\\""}]', b'[{"a":"}]', b"[null]", b"[{}] []", b"[{}],", b"[{}}]", b'["a"]',
])  # fmt: skip
def test_what_is_not_clearly_an_array_of_flat_objects(body: bytes):
    assert split_array(body) is None and reference.split_array(body) is None


def test_lines():
    body = b'{"a":1}\n\n \t\r\n{"b":"\xff"}\r\nx'
    starts, lengths = READER.split_lines(body)
    assert [body[s : s + n] for s, n in zip(starts, lengths, strict=True)] == [b'{"a":1}', b'{"b":"\xff"}\r', b"x"]
    assert [len(spans) for spans in split_lines(b"")] == [0, 0]


# --- parts, and several readings as one -----------------------------------------------------------------------------------


def columns_of(records) -> dict:
    """Every column by name, as bytes and shape, so that NaN equals NaN."""
    names = ("accepted", "ends", "starts", "lengths", "integer_columns", "code_columns")
    found = {name: getattr(records, name) for name in names}
    for of in (records.integers, records.numbers, records.codes):
        found |= of
    assert all(column.flags.c_contiguous for column in found.values())
    return {name: (column.dtype, column.shape, column.tobytes()) for name, column in found.items()} | {"text": records.text}


def some_bodies(count: int) -> list[bytes]:
    """Objects with and without what is optional, and one in five that is not accepted."""
    extra = [b"", b',"present":true,"i":7', b',"place":0.5', b',"country":"DE"', b',"nothing":1']
    return [b"{" + MINIMAL + extra[i % len(extra)] + b"}" for i in range(count)]


@pytest.mark.parametrize("edges", [(0, 11), (0, 1, 11), (0, 4, 4, 9, 11), tuple(range(12))])
def test_parts_and_what_is_joined_are_as_if_they_had_been_read_so(edges):
    bodies = some_bodies(11)
    whole, parts = READER.read_many(bodies), []
    for first, last in zip(edges, edges[1:], strict=False):
        parts.append(READER.part(whole, first, last))
        assert columns_of(parts[-1]) == columns_of(READER.read_many(bodies[first:last]))
    assert columns_of(READER.joined(parts)) == columns_of(whole)


def test_texts_of_two_gigabytes_are_not_joined():
    class Long(bytes):
        def __len__(self) -> int:
            return 2**30

    records = READER.read_many([b"{" + MINIMAL + b"}"])
    records.__dict__["text"] = Long()
    with pytest.raises(KernelInputError, match="join less than 2 GiB"):
        READER.joined([records, records])


# --- misuse ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("starts", "lengths"), [
    ([0], [11]), ([-1], [5]), ([5], [-5]), ([11], [0]), ([0, 9], [10, 2]), ([0, 0], [10, -9]), ([2**62], [2**62]),
    ([0], [2**63 - 1]),
    ([0, 0], [2**62, 2**62]), ([2**63 - 1], [1]),
])  # fmt: skip
def test_records_outside_the_text_are_refused(starts: list[int], lengths: list[int]):
    row = len(starts) - 1 if lengths[0] == 10 else 0
    with pytest.raises(KernelInputError, match=f"record {row} does not lie inside the text of 10 bytes"):
        READER.read(b"0123456789", np.array(starts, np.int64), np.array(lengths, np.int64))


def test_spans_of_another_kind_are_refused():
    right = np.zeros(4, np.int64)
    for starts, lengths in (
        (right.astype(np.int32), right),
        (right, right[:3]),
        (right[::2], right[:2]),
        (right[:1, None], right[:1]),
    ):
        with pytest.raises(KernelInputError, match="must be C-contiguous int64"):
            READER.read(b"", starts, lengths)


@pytest.mark.parametrize(("rules", "message"), [
    ({"name": ""}, "must be 1 to 40"), ({"name": "n" * 41}, "must be 1 to 40"), ({"name": 'a"'}, "must be 1 to 40"),
    ({"kind": FieldKind.CHOICE}, "choices must be"), ({"kind": FieldKind.CHOICE, "choices": ("a", "a")}, "choices must be"),
    ({"kind": FieldKind.CHOICE, "choices": ("a" * 17,)}, "choices must be"),
    ({"kind": FieldKind.CHOICE, "choices": ("",)}, "choices must be"),
    ({"kind": FieldKind.LETTERS, "length": 7}, "length must be 1 to 6"), ({"kind": FieldKind.DIGITS}, "length must be 1 to 9"),
    ({"kind": FieldKind.INTEGER, "largest": 10**18}, "largest must be"),
    ({"kind": FieldKind.NUMBER, "low": 2, "high": 1}, "low must not"),
    ({"kind": FieldKind.NUMBER, "low": float("nan")}, "low must not"), ({"shortest": 0}, "shortest must be"),
    ({"longest": 0}, "shortest must be"),
])  # fmt: skip
def test_fields_that_cannot_be(rules: dict, message: str):
    with pytest.raises(KernelInputError, match=message):
        RecordField(**{"name": "a", "kind": FieldKind.TOKEN} | rules)


def test_a_reader_has_1_to_64_fields_of_different_names():
    fields = [RecordField(f"field{i}", FieldKind.INTEGER) for i in range(65)]
    for wrong in ([], fields, [fields[0], fields[0]]):
        with pytest.raises(KernelInputError, match="a record has 1 to 64 fields"):
            RecordReader(wrong)
    reader = RecordReader(fields[:64])
    body = json.dumps({field.name: i for i, field in enumerate(fields[:64])}).encode()
    records = read_both([body, body.replace(b"field63", b"field62"), body.replace(b"field63", b"field64")], reader=reader)
    assert records.accepted.tolist() == [1, 0, 0] and records.integers["field63"][0] == 63


def test_choices_by_the_hundred():
    words = tuple(f"w{i}" for i in range(300))
    reader = RecordReader([RecordField("a", FieldKind.CHOICE, choices=words)])
    records = read_both([f'{{"a":"{word}"}}'.encode() for word in (*words, "w300", "w")], reader=reader)
    assert records.codes["a"].tolist() == [*range(300), -1, -1]


def test_threads_share_a_reader():
    bodies = [with_member("i", str(i)) for i in range(400)]
    expected, wrong = {n: READER.read_many(bodies[:n]).text for n in (1, 3, 400)}, []

    def work(n: int) -> None:
        for _ in range(60):
            if READER.read_many(bodies[:n]).text != expected[n]:
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 3, 400, 400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_without_a_compiler_the_reference_reads(monkeypatch):
    monkeypatch.setattr("kernels.flat_records.library", lambda: None)
    reader = RecordReader(FIELDS)
    bodies = [b"{" + MINIMAL + b"}", b"{}"]
    for records in (reader.read_many(bodies), reader.read(*placed(bodies))):
        assert records.accepted.tolist() == [1, 0] and records.text == bodies[0]
    assert reader.read_many(bodies[:1]).accepted.tolist() == [1] and len(reader.read_many([])) == 0
    assert reader.split_array(b"[{}]")[1].tolist() == [2] and reader.split_lines(b"{}\n")[1].tolist() == [2]
    with pytest.raises(KernelInputError, match="record 0 does not lie inside"):
        reader.read(b"", np.array([0]), np.array([1]))
