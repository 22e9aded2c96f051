"""Bodies of a whole batch: what the quick reader leaves to the slow one is accepted or explained like the rest."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from scoring.decisions.accepted import read_requests, read_texts
from scoring.decisions.requests import DecisionRequest
from scoring.errors import InvalidInput
from scoring.reading import read_transaction
from scoring.transactions import canonical_json
from tests.scoring.decisions.conftest import NOON, payment

RECEIVED_US = int(NOON.timestamp() * 1_000_000) + 3_600_000_000
NO_PAYER = {"customer_id": None, "account_id": None, "card_id": None}


def request(body: dict | bytes, received_us: int = RECEIVED_US) -> DecisionRequest:
    return DecisionRequest(body if isinstance(body, bytes) else json.dumps(body).encode(), received_us, 0)


def text(number: int | str, **fields) -> bytes:
    return json.dumps(payment(number, **fields)).encode()


# What the reader in C hands on though it is right, and what is wrong for a reason of each kind.
UNUSUAL = {
    "escapes": text(1).replace(b"alice", rb"\u0061lice"),
    "white space": text(1).replace(b",", b" ,\r\n\t"),
    "nulls": text(1, x=0).replace(b'"x": 0', b'"mcc": null, "latitude": null'),
    "an offset": text(1, occurred_at="2026-03-02T13:30:00.25+01:30"),
    "lower case": text(1, occurred_at="2026-03-02t12:00:00z"),
    "seconds alone": text(1, occurred_at="2026-03-02T12:00:00Z"),
    "a float that is whole": text(1, latitude=52.0, longitude=-4),
}
FAULTY = {
    "no JSON": (b"{", None),
    "no object": (b"[]", None),
    "nothing": (b"", None),
    "a field too many": (text(1, surprise=1), None),
    "an amount below 0": (text(1, amount_minor=-1), "/amount_minor"),
    "a currency that is none": (text(1, currency="XXQ"), "/currency"),
    "no time": (text(1, occurred_at="yesterday"), "/occurred_at"),
    "before 1970": (text(1, occurred_at="1969-12-31T23:59:59Z"), "/occurred_at"),
    "the future": (text(1, occurred_at=(NOON + timedelta(days=2)).isoformat()), "/occurred_at"),
    "no payer": (text(1, **NO_PAYER), None),
    "a card number": (text(1, card_id="4111111111111111"), "/card_id"),
    "twice the same field": (text(1)[:-1] + b',"amount_minor":1}', None),
}


def one_by_one(body: bytes) -> bytes | InvalidInput:
    """What the slow reader alone says."""
    try:
        return canonical_json(read_transaction(body, datetime.fromtimestamp(RECEIVED_US / 1e6, UTC)))
    except InvalidInput as refusal:
        return refusal


def told(refusal: InvalidInput | None) -> tuple | None:
    return refusal and (str(refusal), [(fault.param, fault.code, fault.message) for fault in refusal.faults])


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_accepted_as_the_slow_reader_does(name):
    accepted, (refusal,) = read_requests([request(UNUSUAL[name])])
    expected = one_by_one(UNUSUAL[name])
    assert refusal is None and isinstance(expected, bytes)
    assert accepted.texts == [expected.decode()] and accepted.ids == ["tx-1"]


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_is_explained(name):
    body, pointer = FAULTY[name]
    accepted, (refusal,) = read_requests([request(body)])
    assert len(accepted) == 0 and accepted.texts == []
    assert isinstance(refusal, InvalidInput) and refusal.status == 400
    assert told(refusal) == told(one_by_one(body))
    if pointer:
        assert pointer in [fault.param for fault in refusal.faults]


def test_quick_slow_and_faulty_bodies_in_one_batch_keep_their_places():
    bodies = [body for body, _ in FAULTY.values()] + list(UNUSUAL.values()) + [text(i, amount_minor=i) for i in range(20)]
    random.Random(3).shuffle(bodies)
    accepted, refusals = read_requests([request(body) for body in bodies])
    expected = [one_by_one(body) for body in bodies]
    assert list(accepted.places) == [i for i, of in enumerate(expected) if isinstance(of, bytes)]
    assert accepted.texts == [of.decode() for of in expected if isinstance(of, bytes)]
    assert list(map(told, refusals)) == [told(of) if isinstance(of, InvalidInput) else None for of in expected]
    assert accepted.ids == [json.loads(of)["transaction_id"] for of in accepted.texts]
    assert accepted.tokens("card_id") == [json.loads(of).get("card_id") for of in accepted.texts]
    assert accepted.tokens("country") == [None] * len(accepted)


def test_the_clock_is_each_requests_own(settings):
    body, noon, ahead = text(1), int(NOON.timestamp() * 1_000_000), settings.MAX_FUTURE_SECONDS * 1_000_000
    moments = [noon - ahead - 1, noon - ahead, noon, noon - 3_600_000_000]
    accepted, refusals = read_requests([request(body, moment) for moment in moments])
    assert list(accepted.places) == [1, 2]
    assert [refusal is None for refusal in refusals] == [False, True, True, False]
    assert {fault.param for of in refusals if of for fault in of.faults} == {"/occurred_at"}


@pytest.mark.parametrize("payer", ["customer_id", "account_id", "card_id"])
def test_one_payer_is_enough(payer):
    accepted, refusals = read_requests([request(text(1, **NO_PAYER | {payer: "p"}))])
    assert refusals == [None] and accepted.tokens(payer) == ["p"]


def test_some_are_taken_out_with_their_places():
    accepted, _ = read_requests([request(b"{"), *(request(text(i, amount_minor=i)) for i in range(5))])
    some = accepted.take([3, 0])
    assert (some.places, some.ids) == ([4, 1], ["tx-3", "tx-0"])
    assert some.texts == [accepted.texts[3], accepted.texts[0]]
    assert some.records.integers["amount_minor"].tolist() == [3, 0]
    assert accepted.take(range(5)) is accepted


def test_no_request_at_all():
    accepted, refusals = read_requests([])
    assert (len(accepted), refusals, accepted.ids) == (0, [], [])


def test_a_stored_text_that_this_release_does_not_know_is_named_and_not_taken_for_empty():
    stored = canonical_json(read_transaction(request(payment(1)).body, datetime.fromtimestamp(RECEIVED_US / 1e6, UTC)))
    assert read_texts([stored]).accepted.all()
    with pytest.raises(ValueError, match="cannot be read by this release: tx-1"):
        read_texts([stored, stored.replace(b'"EUR"', b'"XXX"')])
