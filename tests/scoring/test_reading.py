"""From bytes to a transaction: whatever arrives is accepted or refused with an explanation, and nothing else happens."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.errors import InvalidInput
from scoring.reading import MAX_DEPTH, decode_object, read_transaction, read_transaction_object, split_items
from scoring.transactions import Transaction, canonical_json, holds_card_number, parse_stored, utc_microseconds
from tests.strategies import examples, transactions

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BODY = (
    b'{"transaction_id":"t1","occurred_at":"2026-03-02T12:00:00Z","amount_minor":2500,"currency":"EUR","type":"transfer",'
    b'"channel":"web","customer_id":"c1","latitude":52.5,"card_present":true,"ip":"10.0.0.1","mcc":null}'
)


def accepted_or_explained(body: bytes) -> bool:
    try:
        found = read_transaction(body, NOW)
    except InvalidInput as refused:
        assert refused.faults and all(fault.code and fault.message for fault in refused.faults)
        return False
    assert isinstance(found, Transaction)
    assert parse_stored(canonical_json(found)) == found
    return True


@examples(400)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes(changes):
    raw = bytearray(BODY)
    for position, value in changes:
        raw[position % len(raw)] = value
    accepted_or_explained(bytes(raw))


@examples(200)
@given(st.binary(max_size=80))
def test_arbitrary_bytes(raw):
    assert not accepted_or_explained(raw)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@examples(400)
@given(st.dictionaries(st.sampled_from([*Transaction.__struct_fields__, "cvv"]), _json, max_size=4))
def test_any_json_value_in_any_field(changed):
    accepted_or_explained(json.dumps(json.loads(BODY) | changed).encode())


@examples(60)
@given(transactions(max_size=3))
def test_bytes_and_objects_are_read_alike(bodies):
    for body in bodies:
        assert read_transaction(json.dumps(body).encode(), datetime(2030, 1, 1, tzinfo=UTC)) == read_transaction_object(
            body, datetime(2030, 1, 1, tzinfo=UTC)
        )


@examples(60)
@given(transactions(min_size=1, max_size=1), st.randoms(use_true_random=False), st.booleans())
def test_equal_transactions_have_one_fingerprint(bodies, random, spaced):
    (body,) = bodies
    members = list(body.items())
    random.shuffle(members)
    shuffled = json.dumps(dict(members), indent=2 if spaced else None).encode()
    later = datetime(2030, 1, 1, tzinfo=UTC)
    one, other = (canonical_json(read_transaction(raw, later)) for raw in (json.dumps(body).encode(), shuffled))
    assert one == other


def test_different_transactions_have_different_fingerprints():
    base = json.loads(BODY)
    changed = [
        {},
        {"amount_minor": 2501},
        {"customer_id": "c2"},
        {"card_present": False},
        {"latitude": 52.50001},
        {"transaction_id": "t2"},
        {"mcc": "0000"},
    ]
    fingerprints = {canonical_json(read_transaction_object(base | change, NOW)) for change in changed}
    assert len(fingerprints) == len(changed)


@pytest.mark.parametrize("repeated", [name for name, value in json.loads(BODY).items() if value is not None])
def test_each_field_that_occurs_twice_is_found(repeated):
    again = json.dumps({repeated: json.loads(BODY)[repeated]}).encode()
    for body in (again[:-1] + b"," + BODY[1:], BODY[:-1] + b"," + again[1:]):
        with pytest.raises(InvalidInput) as refused:
            read_transaction(body, NOW)
        assert [(fault.param, fault.code) for fault in refused.value.faults] == [(f"/{repeated}", "duplicate_key")]


def test_nesting_is_limited_before_anything_recurses():
    def nested(levels: int) -> bytes:
        return b"[" * levels + b"]" * levels

    assert decode_object(nested(MAX_DEPTH)) is not None
    for levels in (MAX_DEPTH + 1, 1_000, 1_000_000):
        with pytest.raises(InvalidInput) as refused:
            decode_object(nested(levels))
        assert refused.value.faults[0].code == "too_deep"


def test_items_of_an_array_are_split_without_being_read():
    items = split_items(b'[{"a":1}, 5 ,[1,2],"x"]', ndjson=False)
    assert [bytes(item) for item in items] == [b'{"a":1}', b"5", b"[1,2]", b'"x"']
    assert split_items(b'{"a":1}\n\n 5\n', ndjson=True) == [b'{"a":1}', b" 5"]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("4111111111111111", True),
        ("4111 1111 1111 1111", False),
        ("-4111111111111111", True),
        ("card_4111111111111111", True),
        ("card_000003_0-2026", False),
        ("378282246310005", True),
        ("6011-1111-1111-1117", True),
        ("3056.9309.0259.04", True),
        ("4111111111111112", False),
        ("0000000000000", False),
        ("000000000000", False),
        ("12345678901234567890", False),
        ("", False),
        ("４１１１１１１１１１１１１１１１", False),
    ],
)
def test_card_numbers(text, is_one):
    assert holds_card_number(text) is is_one


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_microseconds_are_exact(moment):
    assert utc_microseconds(moment.replace(tzinfo=UTC)) == int(
        (moment - datetime(1970, 1, 1)) / __import__("datetime").timedelta(microseconds=1)
    )
