"""Each typology is there, looks as its name says, and hides among honest look-alikes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from scoring.simulator import TYPOLOGIES, Drift, FraudWave, SimulationConfig, simulate

DAY_US = 86_400_000_000
MONTH = SimulationConfig(seed=5, days=30, customers=1000, merchants=150)


@pytest.fixture(scope="module")
def month():
    return simulate(MONTH)


def incidents(stream, typology):
    """The bodies of each incident of a typology."""
    rows = np.flatnonzero(stream.typology == 1 + TYPOLOGIES.index(typology))
    numbers = stream.incident[rows]
    return [stream.columns.dicts(rows[numbers == number]) for number in np.unique(numbers)]


def seconds(body) -> float:
    return np.datetime64(body["occurred_at"][:-1], "us").astype(np.int64) / 1e6


def test_every_typology_occurs_and_fraud_is_rare(month):
    counts = np.bincount(month.typology, minlength=7)
    assert np.all(counts[1:] > 0)
    assert 0.005 < month.columns.label.mean() < 0.0125
    assert np.array_equal(month.columns.label, month.typology > 0)
    assert np.array_equal(month.typology > 0, month.incident >= 0)


def test_without_a_fraud_rate_there_is_no_fraud():
    stream = simulate(replace(MONTH, days=3, fraud_rate=0.0))
    assert stream.columns.label.sum() == 0
    assert {label["label"] for label in stream.labels} <= {"dispute", "legitimate"}


def test_card_testing_tries_many_cards_with_small_amounts_from_few_devices(month):
    for bodies in incidents(month, "card_testing"):
        tests = [body for body in bodies if body["mcc"] in ("5815", "5816", "8398")]
        assert len({body["card_id"] for body in tests}) >= min(4, len(tests))
        assert len({body["merchant_id"] for body in tests}) <= 2
        assert np.median([body["amount_minor"] for body in tests]) < 1500


def test_account_takeover_takes_from_one_victim_with_a_device_of_its_own(month):
    cases = incidents(month, "account_takeover")
    own = Counter()
    for body in month.columns.dicts(np.flatnonzero(month.typology == 0)):
        own[body["customer_id"], body.get("device_id")] += 1
    is_new = []
    for bodies in cases:
        assert len({body["customer_id"] for body in bodies}) == 1
        assert len({body["device_id"] for body in bodies}) == 1
        is_new.append(own[bodies[0]["customer_id"], bodies[0]["device_id"]] == 0)
    assert 0.6 < np.mean(is_new) < 1.0


def test_a_stolen_card_is_spent_quickly_at_terminals_and_often_abroad(month):
    cases = incidents(month, "stolen_card")
    abroad = 0
    for bodies in cases:
        assert len({body["card_id"] for body in bodies}) == 1
        assert {body["channel"] for body in bodies} <= {"pos", "atm"}
        assert seconds(bodies[-1]) - seconds(bodies[0]) < 36 * 3600
        abroad += bodies[0]["country"] != bodies[0]["home_country"]
    assert 0.2 < abroad / len(cases) < 0.8


def test_a_compromised_merchant_is_where_the_misused_cards_met_before(month):
    honest = month.columns.dicts(np.flatnonzero(month.typology == 0))
    for bodies in incidents(month, "compromised_merchant"):
        cards = {body["card_id"] for body in bodies}
        first = {card: min(seconds(b) for b in bodies if b["card_id"] == card) for card in cards}
        met = Counter()
        for body in honest:
            card = body.get("card_id")
            if card in cards and body["channel"] == "pos" and seconds(body) < first[card]:
                met[body["merchant_id"], card] = 1
        shops = Counter(merchant for merchant, _ in met)
        assert shops.most_common(1)[0][1] == len(cards)


def test_one_terminal_takes_the_copies_of_a_breach(month):
    for bodies in incidents(month, "compromised_merchant"):
        assert len({body["terminal_id"] for body in bodies if body["channel"] == "pos"}) <= 1


def test_a_mule_collects_from_many_and_passes_the_money_on(month):
    for bodies in incidents(month, "mule_account"):
        paid_in = Counter(body.get("counterparty_id") for body in bodies)
        mule, senders = paid_in.most_common(1)[0]
        if seconds(bodies[-1]) > (MONTH.start_us + (MONTH.days - 3) * DAY_US) / 1e6:
            continue
        outgoing = [body for body in bodies if body["account_id"] == mule]
        assert senders >= 4
        assert outgoing and max(seconds(b) for b in outgoing) > max(
            seconds(b) for b in bodies if b.get("counterparty_id") == mule
        )


def test_structuring_stays_below_the_reporting_threshold(month):
    for bodies in incidents(month, "structuring"):
        amounts = [body["amount_minor"] for body in bodies]
        assert {body["type"] for body in bodies} == {"cash_deposit"}
        assert max(amounts) < MONTH.cash_threshold_minor
        assert min(amounts) > 0.75 * MONTH.cash_threshold_minor


def test_honest_people_do_what_fraudsters_do(month):
    honest = month.columns.dicts(np.flatnonzero(month.typology == 0))
    senders, cards = {}, {}
    for body in honest:
        senders.setdefault(body.get("counterparty_id"), set()).add(body["customer_id"])
        if "card_id" in body:
            cards.setdefault(body.get("device_id"), set()).add(body["card_id"])
    senders.pop(None)
    cards.pop(None)
    near = [b for b in honest if b["type"] == "cash_deposit" and 800_000 <= b["amount_minor"] < 1_000_000]
    assert sum(len(people) >= 10 for people in senders.values()) >= 10
    assert sum(len(people) >= 8 for people in cards.values()) >= 3
    assert len(near) >= 20
    assert sum(b["channel"] == "pos" and b["country"] != b["home_country"] for b in honest) > 500


def test_no_token_gives_fraud_away(month):
    """Tokens of devices seen only in fraud are spread over the same range as those of honest people."""
    numbers = {True: [], False: []}
    for body, label in zip(month.transactions, month.columns.label.tolist(), strict=True):
        if "device_id" in body:
            numbers[bool(label)].append(int(body["device_id"][4:], 16))
    assert abs(np.mean(numbers[True]) / np.mean(numbers[False]) - 1) < 0.2


def test_a_wave_multiplies_one_typology_in_its_window_only():
    wave = FraudWave("stolen_card", start_day=10, days=5, multiplier=8)
    calm, stormy = simulate(MONTH), simulate(replace(MONTH, waves=(wave,)))
    number = 1 + TYPOLOGIES.index("stolen_card")

    def started(stream, typology, first, last):
        rows = np.flatnonzero(stream.typology == typology)
        _, begin = np.unique(stream.incident[rows], return_index=True)
        day = (stream.columns.occurred_us[rows[begin]] - MONTH.start_us) / DAY_US
        return int(((day >= first) & (day < last)).sum())

    assert started(stormy, number, 10, 15) > 4 * max(started(calm, number, 10, 15), 1)
    assert started(stormy, number, 0, 10) == started(calm, number, 0, 10)
    for other in range(1, 7):
        if other != number:
            assert started(stormy, other, 0, 30) == started(calm, other, 0, 30)


def test_a_drift_moves_takeovers_to_small_mobile_transfers_and_honest_people_to_online_shops():
    stream = simulate(replace(MONTH, customers=2000, drift=Drift(start_day=15, takeover_multiplier=4, ecom_shift=0.3)))
    day = (stream.columns.occurred_us - MONTH.start_us) / DAY_US
    takeover = stream.typology == 1 + TYPOLOGIES.index("account_takeover")
    mobile = stream.columns.dictionaries["channel"].index("mobile")
    is_mobile = stream.columns.codes["channel"] == mobile

    before, after = takeover & (day < 15), takeover & (day >= 16)
    assert np.median(stream.columns.amount_minor[before]) > 3 * np.median(stream.columns.amount_minor[after])
    assert is_mobile[after].mean() > 0.75 > is_mobile[before].mean() + 0.2

    def share_online(rows):
        channels = stream.columns.codes["channel"][rows & (stream.typology == 0)]
        ecom = (channels == stream.columns.dictionaries["channel"].index("ecom")).sum()
        return ecom / (ecom + (channels == stream.columns.dictionaries["channel"].index("pos")).sum())

    assert share_online(day >= 15) > share_online(day < 15) + 0.12
