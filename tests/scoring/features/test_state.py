"""The feature state at the level of transactions, through the one function that scores."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.decisions.score_batch import ScoredBatch, score_batch
from scoring.engine import RiskProgram
from scoring.features.columns import CODE_FIELDS, INTEGER_FIELDS
from scoring.features.schema import current_schema
from scoring.features.state import FeatureState
from scoring.reading import read_transaction_object
from scoring.transactions import Transaction
from tests.scoring.decisions.programs import risk_program
from tests.scoring.features.recomputation import Known, window_features
from tests.strategies import START, cut, cuts, examples, transactions

LATENESS_DAYS = 7
SCHEMA = current_schema()


@pytest.fixture(scope="module")
def program() -> RiskProgram:
    return risk_program()


def read(bodies: list[dict]) -> list[Transaction]:
    return [read_transaction_object(body, datetime(2030, 1, 1, tzinfo=UTC)) for body in bodies]


def body(number: int, after: timedelta = timedelta(0), **fields) -> dict:
    """A card payment by the same customer, `after` the start."""
    common = {
        "amount_minor": 1_000,
        "currency": "EUR",
        "type": "card_payment",
        "channel": "pos",
        "customer_id": "c0",
        "card_id": "k0",
        "merchant_id": "m0",
    }
    return common | {"transaction_id": f"t{number}", "occurred_at": (START + after).isoformat()} | fields


def score(
    state: FeatureState, program: RiskProgram, batch: list[Transaction], first_key: int, *, remember: bool = True
) -> ScoredBatch:
    columns = state.tokens.columns(batch, range(first_key, first_key + len(batch)), remember=remember)
    return score_batch(state, program, columns)


def one_by_one(program: RiskProgram, payments: list[Transaction]) -> tuple[FeatureState, list[ScoredBatch]]:
    state = FeatureState(LATENESS_DAYS)
    return state, [score(state, program, [payment], key) for key, payment in enumerate(payments)]


def row(scored: ScoredBatch, i: int = 0) -> dict[str, float]:
    return dict(zip(SCHEMA.names, scored.rows.x[i].tolist(), strict=True))


@examples(40)
@given(bodies=transactions(), sizes=cuts)
def test_any_cut_into_batches_equals_one_by_one(program, bodies, sizes):
    payments = read(bodies)
    _, singles = one_by_one(program, payments)
    state, start = FeatureState(LATENESS_DAYS), 0
    for part in cut(payments, sizes):
        scored = score(state, program, part, start)
        alone = singles[start : start + len(part)]
        assert scored.rows.x.tobytes() == np.concatenate([s.rows.x for s in alone]).tobytes()
        assert scored.decided.outcome.tolist() == [int(s.decided.outcome[0]) for s in alone]
        assert scored.decided.risk.tolist() == [float(s.decided.risk[0]) for s in alone]
        assert scored.rows.late.tolist() == [bool(s.rows.late[0]) for s in alone]
        start += len(part)


@examples(40)
@given(bodies=transactions(max_size=20))
def test_streaming_equals_a_plain_recomputation(program, bodies):
    payments = read(bodies)
    _, singles = one_by_one(program, payments)
    for i, payment in enumerate(payments):
        truth = window_features(payment, [Known(past) for past in payments[:i]])
        ours = row(singles[i])
        for name, value in truth.items():
            assert ours[name] == pytest.approx(value, rel=1e-5, abs=2e-3, nan_ok=True), f"{name} of transaction {i}"


@examples(30)
@given(
    bodies=transactions(min_size=4, max_size=20),
    frauds=st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=8),
)
def test_labels_change_what_later_transactions_see(program, bodies, frauds):
    """Each verdict comes after the transaction it is about; the newest one counts."""
    payments = read(bodies)
    half = len(payments) // 2
    state, _ = one_by_one(program, payments[:half])
    known = [False] * half
    for position, fraud in frauds:
        position %= half
        known[position] = fraud
        columns = state.tokens.columns([payments[position]], [position], remember=True)
        state.label(columns.occurred_us, columns.key, columns.entities, np.array([fraud], np.uint8))
    history = [Known(past, fraud) for past, fraud in zip(payments[:half], known, strict=True)]
    for i, payment in enumerate(payments[half:], half):
        ours = row(score(state, program, [payment], i))
        truth = window_features(payment, history)
        for name in (n for n in truth if ".risk_" in n):
            assert ours[name] == pytest.approx(truth[name], nan_ok=True), f"{name} of transaction {i}"
        history.append(Known(payment))


@examples(30)
@given(bodies=transactions(max_size=12), tried=transactions(max_size=4))
def test_a_dry_run_leaves_no_trace(program, bodies, tried):
    state, _ = one_by_one(program, read(bodies))

    def trace() -> tuple:
        return (
            state.tokens.sizes(),
            state.event_count(),
            state.memory_bytes(),
            state.clock_us,
        )

    before = trace()
    new = read([b | {"customer_id": "stranger", "device_id": "new-device", "account_id": "new-account"} for b in tried])
    for batch in (read(tried), new):
        first = score(state, program, batch, 900, remember=False)
        assert score(state, program, batch, 900, remember=False).rows.x.tobytes() == first.rows.x.tobytes()
    assert trace() == before


@examples(30)
@given(bodies=transactions(max_size=15))
def test_a_dry_run_tells_what_the_real_one_will_say(program, bodies):
    state = FeatureState(LATENESS_DAYS)
    for key, payment in enumerate(read(bodies)):
        tried = score(state, program, [payment], 900, remember=False)
        real = score(state, program, [payment], key)
        assert tried.rows.x.tobytes() == real.rows.x.tobytes()
        assert tried.decided.outcome.tolist() == real.decided.outcome.tolist()


@examples(30)
@given(bodies=transactions(max_size=15), failed=transactions(max_size=6))
def test_a_batch_that_is_taken_back_leaves_the_answers_as_they_were(program, bodies, failed):
    payments = read(bodies)
    (plain, _), (mended, _) = one_by_one(program, payments), one_by_one(program, payments)
    newest = max(p.occurred_at for p in payments)
    # No further from each other than the allowed lateness, within which nothing is forgotten for good.
    ahead = newest + timedelta(days=LATENESS_DAYS)
    batch = [replace_time(p, min(max(p.occurred_at, newest), ahead)) for p in read(failed)]
    columns = mended.tokens.columns(batch, range(500, 500 + len(batch)), remember=True)
    mended.take_back(columns, mended.process(columns))
    ours, truth = score(mended, program, batch, 700), score(plain, program, batch, 700)
    assert ours.rows.x.tobytes() == truth.rows.x.tobytes()
    assert ours.rows.late.tolist() == truth.rows.late.tolist()
    assert mended.event_count() == plain.event_count()


def replace_time(payment: Transaction, occurred_at: datetime) -> Transaction:
    return Transaction(**{name: getattr(payment, name) for name in payment.__struct_fields__} | {"occurred_at": occurred_at})


# --- written examples ----------------------------------------------------------------------------------------------------


def test_a_program_that_fails_leaves_no_event_behind(program):
    state, _ = one_by_one(program, read([body(0)]))
    broken = risk_program()

    class Failing:
        def __getattr__(self, name):
            return getattr(broken, name)

        def score(self, *_, **__):
            raise RuntimeError("no result")

    with pytest.raises(RuntimeError):
        score(state, Failing(), read([body(1)]), 1)
    assert row(score(state, program, read([body(2)]), 2))["card.count.24h"] == 1


def test_two_transactions_of_one_batch_see_each_other_in_order(program):
    scored = score(
        FeatureState(LATENESS_DAYS), program, read([body(0), body(1, timedelta(minutes=1)), body(2, timedelta(minutes=2))]), 0
    )
    assert [row(scored, i)["card.count.10m"] for i in range(3)] == [0, 1, 2]
    assert row(scored, 2)["card.since_last"] == 60


def test_a_field_that_is_not_sent_gives_unknown_features(program):
    values = row(score(FeatureState(LATENESS_DAYS), program, read([{k: v for k, v in body(0).items() if k != "card_id"}]), 0))
    assert all(
        math.isnan(value) for name, value in values.items() if name.startswith(("card.", "card_merchant.", "card_country."))
    )
    assert values["customer.count.30d"] == 0 and math.isnan(values["mcc"]) and math.isnan(values["is_abroad"])


def test_pairs_are_told_apart(program):
    state = FeatureState(LATENESS_DAYS)
    score(state, program, read([body(0, device_id="d0"), body(1, device_id="d1"), body(2, customer_id="c1", device_id="d0")]), 0)
    values = row(score(state, program, read([body(3, device_id="d0")]), 9))
    assert (values["customer.count.24h"], values["device.count.24h"], values["customer_device.count.24h"]) == (2, 2, 1)


def test_cash_deposits_alone_count_as_cash(program):
    state = FeatureState(LATENESS_DAYS)
    score(state, program, read([body(0, account_id="a0"), body(1, account_id="a0", type="cash_deposit")]), 0)
    deposit, payment = (
        score(state, program, read([body(2, account_id="a0", type="cash_deposit"), body(3, account_id="a0")]), 5),
        None,
    )
    assert row(deposit)["account_cash.count.7d"] == 1
    payment = row(deposit, 1)
    assert math.isnan(payment["account_cash.count.7d"])


def test_countries_of_a_card(program):
    state = FeatureState(LATENESS_DAYS)
    score(state, program, read([body(0, country="DE"), body(1, country="NL"), body(2, country="NL"), body(3)]), 0)
    values = row(score(state, program, read([body(4, country="FR", home_country="DE")]), 9))
    assert values["card_country.distinct.24h"] == 2 and values["is_abroad"] == 1


@pytest.mark.parametrize(
    ("at", "name", "value"),
    [
        ("2026-01-05T23:59:59.999999Z", "hour_of_day", 23),
        ("2026-01-06T00:00:00Z", "hour_of_day", 0),
        ("2026-01-06T05:59:59Z", "is_night", 1),
        ("2026-01-06T06:00:00Z", "is_night", 0),
        ("2026-01-05T12:00:00Z", "day_of_week", 0),
        ("2026-01-11T23:00:00-01:00", "day_of_week", 0),
        ("1970-01-01T00:00:00Z", "day_of_week", 3),
    ],
)
def test_times_are_read_in_utc(program, at, name, value):
    assert row(score(FeatureState(LATENESS_DAYS), program, read([body(0, occurred_at=at)]), 0))[name] == value


@pytest.mark.parametrize(
    ("amount", "name", "value"),
    [
        (0, "is_round_amount", 0),
        (10_000, "is_round_amount", 1),
        (10_001, "is_round_amount", 0),
        (899_999, "below_report_threshold", 0),
        (900_000, "below_report_threshold", 1),
        (999_999, "below_report_threshold", 1),
        (1_000_000, "below_report_threshold", 0),
    ],
)
def test_amounts_at_their_edges(program, amount, name, value):
    assert row(score(FeatureState(LATENESS_DAYS), program, read([body(0, amount_minor=amount)]), 0))[name] == value


@pytest.mark.parametrize(("days", "late"), [(LATENESS_DAYS, False), (LATENESS_DAYS + 1, True)])
def test_an_event_beyond_the_allowed_lateness_is_marked(program, days, late):
    state = FeatureState(LATENESS_DAYS)
    scored = score(state, program, read([body(0, timedelta(days=100)), body(1, timedelta(days=100 - days), card_id="k9")]), 0)
    assert scored.rows.late.tolist() == [False, late]


def test_memory_per_million_events_is_bounded(program):
    """Published in docs/benchmarks.md; here only that nobody makes it several times larger unseen."""
    state, count = FeatureState(LATENESS_DAYS), 20_000
    first = state.tokens.columns(
        read([body(0, terminal_id="p0", device_id="d0", account_id="a0", counterparty_id="b0")]), [0], remember=True
    )
    times = first.occurred_us[0] + np.arange(count) * 60_000_000
    ids = np.arange(count)
    named = ("customer_id", "card_id", "merchant_id", "terminal_id", "device_id", "account_id", "counterparty_id")
    tokens = {name: (ids % 500).astype(np.int32) for name in named}
    values = {name: np.repeat(column, count) for name, column in zip(INTEGER_FIELDS, first.integers, strict=True)}
    values |= {name: np.repeat(column, count) for name, column in zip(CODE_FIELDS, first.codes, strict=True)}
    state.process(state.tokens.columns_of_codes(values | {"occurred_at": times}, tokens, ids.astype(np.uint64)))
    assert state.memory_bytes() / count < 1_500
