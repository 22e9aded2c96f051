"""What leaves the simulator is what the public API takes, every time the same."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from scoring.ingest import feed
from scoring.simulator import SimulationConfig, simulate
from scoring.simulator.block import make_block
from scoring.simulator.simulate import in_event_order
from scoring.transactions import Transaction, faults_of
from tests.scoring.simulator.conftest import SMALL


def test_every_payment_is_one_that_the_api_accepts(stream):
    later = datetime(2100, 1, 1, tzinfo=UTC)
    payments = [msgspec.convert(body, Transaction) for body in stream.transactions]
    assert len(payments) == len(stream) > 10_000
    assert [fault for payment in payments for fault in faults_of(payment, later, timedelta(0))] == []


def test_payments_come_in_event_order_without_ties_and_within_the_simulated_time(stream):
    times = stream.columns.occurred_us
    assert np.all(np.diff(times) > 0)
    assert times[0] >= SMALL.start_us
    assert times[-1] < SMALL.start_us + SMALL.days * 86_400_000_000


def test_payments_of_the_same_microsecond_are_moved_apart_and_those_outside_are_dropped():
    time = np.array([5, 3, -1, 5, 5, 9, 6])
    block = in_event_order(make_block(time, customer=np.arange(7)), end_us=9)
    assert block.time.tolist() == [3, 5, 6, 7, 8]
    assert block.customer.tolist() == [1, 0, 3, 4, 6]


def test_payment_ids_are_unique_and_say_which_simulation_they_are_of(stream):
    ids = stream.columns.transaction_ids()
    assert len(set(ids)) == len(ids)
    assert ids[0] == f"sim-{SMALL.digest}-0"


def test_the_same_config_gives_the_same_bytes(stream):
    again = simulate(SMALL)
    assert _bytes(again.transactions) == _bytes(stream.transactions)
    assert _bytes(again.labels) == _bytes(stream.labels)
    assert _bytes(again.arrivals()) == _bytes(stream.arrivals())


def test_another_seed_gives_another_stream(stream):
    other = simulate(replace(SMALL, seed=4))
    assert not np.array_equal(other.columns.occurred_us[:1000], stream.columns.occurred_us[:1000])


def test_the_last_day_is_as_full_as_the_others():
    stream = simulate(SimulationConfig(days=8, customers=500, merchants=120))
    started = stream.columns.occurred_us[stream.columns.flags["is_recurring"] != 1]
    per_day = np.bincount((started - stream.config.start_us) // 86_400_000_000)
    # Day 0 and day 7 are the same day of the week.
    assert 0.8 < per_day[7] / per_day[0] < 1.25


def test_all_types_and_channels_of_the_contract_but_none_else_occur(stream):
    seen = Counter((body["type"], body["channel"]) for body in stream.transactions)
    assert {kind for kind, _ in seen} == {"card_payment", "transfer", "cash_withdrawal", "cash_deposit", "direct_debit"}
    assert {channel for kind, channel in seen if kind == "card_payment"} == {"pos", "ecom", "moto"}
    assert {channel for kind, channel in seen if kind == "transfer"} == {"mobile", "web", "branch", "api"}
    assert {channel for kind, channel in seen if kind == "cash_withdrawal"} == {"atm"}


def test_each_type_carries_the_fields_that_belong_to_it(stream):
    for body in stream.transactions:
        if body["type"] == "transfer":
            assert "counterparty_id" in body and "merchant_id" not in body and "card_id" not in body
        elif body["channel"] == "pos":
            assert body["card_present"] is True and body["terminal_id"].startswith(body["merchant_id"].replace("mer", "ter"))
            assert {"card_id", "mcc", "latitude", "longitude"} <= body.keys() and "device_id" not in body
        elif body["channel"] == "ecom":
            assert body["card_present"] is False and "terminal_id" not in body
            assert "device_id" in body or body.get("is_recurring")
        elif body["type"] == "cash_deposit":
            assert "terminal_id" in body and "card_present" not in body


def test_nights_are_quiet_and_saturdays_are_busy(stream):
    started = stream.columns.occurred_us[stream.columns.flags["is_recurring"] != 1]
    per_hour = np.bincount((started // 3_600_000_000) % 24, minlength=24)
    assert per_hour[2:5].sum() < 0.2 * per_hour[12:15].sum()
    weekday = (started // 86_400_000_000 + 3) % 7
    per_weekday = np.bincount(weekday, minlength=7)
    assert per_weekday[5] > 1.2 * per_weekday[6]


def test_spending_rises_after_payday():
    stream = simulate(SimulationConfig(days=31, customers=800, merchants=120, start=datetime(2026, 3, 1, tzinfo=UTC)))
    spent = [body for body in stream.transactions if body["type"] == "card_payment"]
    employers = Counter(
        body["occurred_at"][8:10] for body in stream.transactions if body["channel"] == "api" and body["type"] == "transfer"
    )
    assert {"01", "15", "25"} <= employers.keys()
    per_day = Counter(body["occurred_at"][:10] for body in spent)
    # Tuesdays both: most have been paid before the 31st, few before the 17th and nobody anew before the 24th.
    assert per_day["2026-03-31"] > 1.1 * per_day["2026-03-24"]


def test_a_daily_rate_is_kept_within_a_tenth():
    stream = simulate(SimulationConfig(days=28, customers=1000, merchants=120, daily_rate=3.0, fraud_rate=0.0))
    started = sum(body["type"] != "direct_debit" and not body.get("is_recurring") for body in stream.transactions)
    assert started / (28 * 1000) == pytest.approx(3.0, rel=0.1)


def test_arrivals_bring_the_same_payments_and_a_few_of_them_late(stream):
    arrived = list(stream.timed_arrivals(late_share=0.05))
    assert sorted(body["transaction_id"] for _, body in arrived) == sorted(stream.columns.transaction_ids())
    times = [at_us for at_us, _ in arrived]
    assert times == sorted(times)
    occurred = np.array([np.datetime64(body["occurred_at"][:-1], "us").astype(np.int64) for _, body in arrived])
    delay = np.array(times) - occurred
    assert delay.min() > 0 and delay.max() <= 601_000_000
    assert 0.04 < (delay > 2_000_000).mean() < 0.06
    overtaken = np.mean(np.diff(occurred) < 0)
    assert 0.005 < overtaken < 0.1


def test_no_late_payment_where_none_is_wanted(stream):
    delays = [
        at - np.datetime64(body["occurred_at"][:-1], "us").astype(int) for at, body in stream.timed_arrivals(late_share=0.0)
    ]
    assert max(delays) < 1_000_000


def test_the_feed_brings_each_label_after_its_payment(stream):
    sent = set()
    kinds = Counter()
    last = 0
    for at_us, kind, body in feed(stream.timed_arrivals(), stream.timed_labels()):
        assert at_us >= last
        last = at_us
        kinds[kind] += 1
        if kind == "transaction":
            sent.add(body["transaction_id"])
        else:
            assert body["transaction_id"] in sent
    assert kinds == {"transaction": len(stream), "label": len(stream.labels)}


def _bytes(bodies) -> bytes:
    return "\n".join(json.dumps(body) for body in bodies).encode()
