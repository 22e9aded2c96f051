"""Bodies of a whole batch: what the quick reader leaves to the slow one is accepted or explained like the rest."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from scoring.decisions.accepted import read_requests, read_texts, read_whole
from scoring.decisions.requests import (
    Decided,
    DecisionRequest,
    NewAnswers,
    ReadBatch,
    requests_together,
    results_in_order,
)
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


# --- a body of several as one unit -----------------------------------------------------------------------------------------


def whole(items: list[bytes], *, ndjson: bool = False, received_us: int = RECEIVED_US) -> ReadBatch | None:
    body = b"\n".join(items) if ndjson else b"[" + b", ".join(items) + b"]"
    return read_whole(body, request(b"", received_us), ndjson=ndjson)


def same(one, other) -> bool:
    """Whether two batches were accepted alike."""
    return one.texts == other.texts and one.ids == other.ids and (one.records.starts == other.records.starts).all()


@pytest.mark.parametrize("ndjson", [False, True])
def test_a_batch_that_is_read_as_a_whole_is_as_one_that_was_read_item_by_item(ndjson):
    items = [text(i, amount_minor=i) for i in range(9)]
    batch = whole(items, ndjson=ndjson)
    ours, refusals = read_requests(batch)
    truth, _ = read_requests([request(item) for item in items])
    assert same(ours, truth) and refusals == [None] * 9 and batch.read_seconds > 0
    assert [of.body.decode() for of in batch] == truth.texts
    assert {(of.received_us, of.queued_ns, of.backfill) for of in batch} == {(RECEIVED_US, 0, False)}


@pytest.mark.parametrize("odd", [body for body, _ in FAULTY.values()] + [UNUSUAL["escapes"], UNUSUAL["an offset"]])
def test_a_batch_with_an_item_that_the_quick_reader_does_not_take_is_left_to_the_slow_one(odd):
    needs_clock = odd in (FAULTY["the future"][0], FAULTY["no payer"][0], FAULTY["before 1970"][0])
    batch = whole([text(1), odd, text(2)])
    assert (batch is not None) == needs_clock
    if batch is not None:  # what the fields alone do not show is refused by item, with the same words
        accepted, refusals = read_requests(batch)
        assert accepted.ids == ["tx-1", "tx-2"] and [of is None for of in refusals] == [True, False, True]
        _, (truth,) = read_requests([request(odd)])
        assert refusals[1].faults == truth.faults


def test_an_item_that_is_too_large_for_a_single_body_is_left_to_the_slow_way(settings):
    settings.MAX_BODY_BYTES = len(text(1)) + 1
    assert whole([text(1)]) is not None and whole([text(1), text("long" * 4)]) is None


@pytest.mark.parametrize("count", [0, 4])
def test_a_batch_of_too_few_or_too_many_is_refused(settings, count):
    settings.MAX_BATCH_ITEMS = 3
    with pytest.raises(InvalidInput) as refusal:
        whole([text(i) for i in range(count)], ndjson=True)
    assert refusal.value.faults[0].code == "batch_size"


def test_parts_of_batches_go_together():
    first, second = whole([text(i) for i in range(5)]), whole([text(i) for i in range(5, 8)], received_us=RECEIVED_US + 1)
    together = requests_together([first[1:3], first[3:], second])
    assert type(together) is ReadBatch and together.received_us.tolist() == [RECEIVED_US] * 4 + [RECEIVED_US + 1] * 3
    assert same(read_requests(together)[0], read_requests([request(text(i)) for i in range(1, 8)])[0])
    assert together[-1].body == second[2].body and len(first[4:2]) == 0
    assert requests_together([first]) is first
    mixed = requests_together([[request(text(9))], second])
    assert [type(of) for of in mixed] == [DecisionRequest] * 4
    with pytest.raises(ValueError, match="consecutive"):
        first[::2]


def test_results_come_in_the_order_of_the_requests():
    late, early = NewAnswers([b"c", b"d"]), NewAnswers([b"a", b"b"])
    joined = results_in_order([(2, late), (0, early)])
    assert type(joined) is NewAnswers and list(joined) == [Decided(of, False) for of in (b"a", b"b", b"c", b"d")]
    assert (joined[1], list(joined[2:])) == (Decided(b"b", False), list(late))
    assert results_in_order([(2, late), (0, ["x", "y"])]) == ["x", "y", *late]
