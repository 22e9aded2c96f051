"""The quick reader of transactions against the slow path, which is the authority."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.engine import FieldKind, RecordField, RecordReader
from scoring.errors import InvalidInput
from scoring.features.schema import CHANNELS, TYPES
from scoring.reading import read_transaction
from scoring.simulator import SimulationConfig, simulate
from scoring.transaction_records import CURRENCY_CODES, transaction_reader
from scoring.transactions import (
    CURRENCIES,
    ENTITY_FIELDS,
    Channel,
    Transaction,
    TransactionType,
    canonical_json,
    holds_card_number,
    parse_stored,
    utc_microseconds,
)
from tests.kernels.flat_texts import odd_texts, read_both, right_texts, text_of
from tests.strategies import examples, transactions

READER = transaction_reader()
NAMES = Transaction.__struct_fields__
KIND_OF = {field.name: field.kind for field in READER.fields}
# Late enough that no time of a test lies too far ahead of it.
NOW = datetime(9999, 12, 31, tzinfo=UTC) - timedelta(days=1)
# What the caller of the quick reader has to look at itself, because it needs more than one field or a clock.
CALLERS_OWN = {"no_payer", "too_old", "in_the_future"}
BODY = {
    "transaction_id": "t-1", "occurred_at": "2026-01-31T10:15:30.5Z", "amount_minor": 2500, "currency": "EUR", "type": "transfer",
    "channel": "web", "customer_id": "c-1", "account_id": "a-1", "card_id": "k-1", "merchant_id": "m-1", "terminal_id": "p-1",
    "device_id": "d-1", "counterparty_id": "b-1", "mcc": "0742", "country": "DE", "home_country": "NL", "latitude": 52.52,
    "longitude": -13.4, "card_present": False, "is_recurring": True, "ip": "10.0.0.1",
}  # fmt: skip


def encoded(body: dict, **changed) -> bytes:
    return json.dumps(body | changed).encode()


def slow(body: bytes) -> Transaction | None:
    """Return what the slow path accepts, but for what the caller of the quick reader looks at."""
    try:
        return read_transaction(body, NOW)
    except InvalidInput as refused:
        if {fault.code for fault in refused.faults} <= CALLERS_OWN:
            return parse_stored(body)
        return None


def assert_as_the_slow_path(bodies: list[bytes]) -> np.ndarray:
    """Check every accepted record against the slow path; return which were accepted."""
    records = read_both(bodies, reader=READER)
    for row in np.flatnonzero(records.accepted):
        transaction = slow(bodies[row])
        assert transaction is not None, bodies[row]
        assert text_of(records, row) == canonical_json(transaction)
        assert values_in(records, row) == values_of(transaction)
    return records.accepted


def values_in(records, row: int) -> dict:
    """Return the values of a record by name, out of the columns."""
    starts, lengths = records.starts[row].tolist(), records.lengths[row].tolist()
    texts = {
        name: records.text[start : start + length].decode() if length >= 0 else None
        for name, start, length in zip(records.token_fields, starts, lengths, strict=True)
    }
    numbers = {name: None if np.isnan(column[row]) else column[row] for name, column in records.numbers.items()}
    codes = {name: None if column[row] < 0 else int(column[row]) for name, column in records.codes.items()}
    return (
        {"integers": {name: int(column[row]) for name, column in records.integers.items()}} | texts | {"n": numbers, "c": codes}
    )


def values_of(transaction: Transaction) -> dict:
    texts = {name: getattr(transaction, name) for name in ("transaction_id", *ENTITY_FIELDS, "country", "home_country")}

    def letters(text: str | None) -> int | None:
        return None if text is None else (ord(text[0]) - 65) * 26 + ord(text[1]) - 65

    return {
        "integers": {"occurred_at": utc_microseconds(transaction.occurred_at), "amount_minor": transaction.amount_minor},
        **texts,
        "n": {"latitude": transaction.latitude, "longitude": transaction.longitude},
        "c": {
            "currency": CURRENCY_CODES.index(transaction.currency),
            "type": TYPES.index(transaction.type),
            "channel": CHANNELS.index(transaction.channel),
            "mcc": None if transaction.mcc is None else int(transaction.mcc),
            "country": letters(transaction.country),
            "home_country": letters(transaction.home_country),
            "card_present": transaction.card_present,
            "is_recurring": transaction.is_recurring,
        },
    }


# --- one place says what is accepted -------------------------------------------------------------------------------------


def test_the_fields_are_those_of_the_transaction():
    fields = msgspec.structs.fields(Transaction)
    assert [(field.name, field.required) for field in READER.fields] == [(field.name, field.required) for field in fields]
    of = {field.name: field for field in READER.fields}
    assert (of["type"].choices, of["channel"].choices) == (TYPES, CHANNELS) == (get_args(TransactionType), get_args(Channel))
    assert set(of["currency"].choices) == CURRENCIES
    assert {name for name, field in of.items() if field.refuse_card_numbers} == {"transaction_id", *ENTITY_FIELDS}


@pytest.mark.parametrize("name", NAMES)
def test_bounds_of_each_field(name: str):
    """At its bounds and just beyond, the quick reader says of a value what the type says."""
    values = {
        FieldKind.TOKEN: ["a", "a" * 64, "a" * 65, "", "a b", "A9._:-", "a\n", "ü"],
        FieldKind.CHOICE: [
            "card_payment",
            "transfer",
            "pos",
            "ecom",
            "EUR",
            "ZWG",
            "XXX",
            "eur",
            "",
            *TYPES,
            *CHANNELS,
            *CURRENCIES,
        ],
        FieldKind.INTEGER: [0, 10**12, 10**12 + 1, -1, 1.0, True, "1"],
        FieldKind.TIME: ["2026-01-31T10:15:30Z", "2026-02-29T10:15:30Z", "2026-01-31T10:15:30.123456Z", "2026-01-31", 5],
        FieldKind.NUMBER: [90, -90, 90.1, -90.1, 180, -180, 180.1, -180.1, 90.00000000000001, 0, True, "1"],
        FieldKind.BOOLEAN: [True, False, 1, 0, "true"],
        FieldKind.LETTERS: ["DE", "de", "D", "DEU", "D1", ""],
        FieldKind.DIGITS: ["0000", "9999", "999", "99999", "999a", 9999],
        FieldKind.ADDRESS: ["1.2.3.4", "255.255.255.255", "256.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4.5"],
    }[KIND_OF[name]]
    bodies = [encoded(BODY, **{name: value}) for value in values]
    accepted = assert_as_the_slow_path(bodies)
    assert accepted.tolist() == [slow(body) is not None for body in bodies]


@pytest.mark.parametrize("name", NAMES)
def test_absent_null_and_repeated_fields(name: str):
    without = {key: value for key, value in BODY.items() if key != name}
    twice = encoded(BODY)[:-1] + f',"{name}":{json.dumps(BODY[name])}}}'.encode()
    null_and_value = encoded(BODY, **{name: None})[:-1] + f',"{name}":{json.dumps(BODY[name])}}}'.encode()
    bodies = [encoded(without), encoded(BODY, **{name: None}), twice, null_and_value]
    assert assert_as_the_slow_path(bodies).tolist() == [slow(body) is not None for body in bodies]


def test_a_type_that_the_quick_reader_does_not_know_is_said_so(monkeypatch):
    odd = msgspec.defstruct("Odd", [("transaction_id", bytes)])
    monkeypatch.setattr("scoring.transaction_records.Transaction", odd)
    with pytest.raises(TypeError, match="the quick reader knows no kind for transaction_id"):
        transaction_reader.__wrapped__()


# --- accepted means what the slow path says ----------------------------------------------------------------------------------


@examples(100)
@given(st.lists(right_texts(READER.fields), min_size=1, max_size=4))
def test_right_records(bodies: list[bytes]):
    assert assert_as_the_slow_path(bodies).all()


@examples(180)
@given(st.lists(odd_texts(READER.fields), min_size=1, max_size=4))
def test_odd_records(bodies: list[bytes]):
    assert_as_the_slow_path(bodies)


@examples(200)
@given(st.floats(-180, 180), st.integers(0, 18))
def test_coordinates_of_every_length(number: float, decimals: int):
    texts = [repr(number), f"{number:.{decimals}f}", f"{number:.17g}"]
    raw = encoded(BODY, longitude=777).decode()
    assert_as_the_slow_path([raw.replace("777", text).encode() for text in texts])


@examples(100)
@given(st.text("0123456789-._:a", min_size=13, max_size=30), st.sampled_from(["transaction_id", *ENTITY_FIELDS]))
def test_no_card_number_passes(text: str, name: str):
    tokens = [digit + text for digit in "23456"] + [text + digit for digit in "0123456789"]
    accepted = assert_as_the_slow_path([encoded(BODY, **{name: token}) for token in tokens])
    assert accepted.tolist() == [not holds_card_number(token) for token in tokens]


@pytest.mark.parametrize("name", ["transaction_id", *ENTITY_FIELDS])
def test_a_card_number_is_refused_in_every_identifier(name: str):
    assert not assert_as_the_slow_path([encoded(BODY, **{name: "4111-1111-1111-1111"})]).any()


# --- real traffic ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traffic() -> list[dict]:
    return list(itertools.islice(simulate(SimulationConfig(seed=5, days=14, customers=300, merchants=100)).transactions, 3000))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_simulated_traffic_is_accepted_whole(traffic: list[dict], separators: tuple[str, str]):
    bodies = [json.dumps(body, separators=separators).encode() for body in traffic]
    assert assert_as_the_slow_path(bodies).all()


@given(transactions())
def test_traffic_of_the_other_tests_is_accepted_whole(bodies: list[dict]):
    assert assert_as_the_slow_path([json.dumps(body).encode() for body in bodies]).all()


# --- the ledger ------------------------------------------------------------------------------------------------------------

_COORDINATES = st.floats(-90, 90) | st.floats(-1e-3, 1e-3) | st.sampled_from([5e-324, -0.0, 1e-7, 2.0**-30, 0.1 + 0.2])


@examples(150)
@given(_COORDINATES, _COORDINATES, st.ip_addresses(), st.datetimes(min_value=datetime(1970, 1, 1)))
def test_whatever_the_ledger_keeps_is_read_back(latitude, longitude, address, occurred):
    sent = encoded(BODY, latitude=latitude, longitude=longitude, ip=str(address), occurred_at=occurred.isoformat() + "Z")
    transaction = read_transaction(sent, NOW)
    stored = canonical_json(transaction)
    records = read_both([stored], reader=READER, trusted=True)
    assert records.accepted.all() and records.text == stored
    assert values_in(records, 0) == values_of(transaction)


@pytest.mark.parametrize("absent", [(), NAMES[6:], NAMES[6::2]])
def test_stored_texts_with_fields_left_out(absent: tuple[str, ...]):
    stored = canonical_json(parse_stored(encoded({name: value for name, value in BODY.items() if name not in absent})))
    records = read_both([stored], reader=READER, trusted=True)
    assert records.accepted.all() and records.text == stored


def test_the_layout_of_patterns_is_told_apart():
    """The reader is built from the patterns of the type: each of its kinds appears."""
    assert set(KIND_OF.values()) == set(FieldKind)
    assert isinstance(READER, RecordReader) and all(isinstance(field, RecordField) for field in READER.fields)
    assert all(re.fullmatch("[A-Z]{3}", code) for code in CURRENCY_CODES)
