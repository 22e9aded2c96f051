"""The periods follow one another by event time, and sampled rows weigh what they stand for."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scoring.features.schema import current_schema
from scoring.learning.dataset import DataPlan, draw_sample, plan_periods
from scoring.learning.snapshot import freeze, microseconds, oldest_event
from tests.scoring.learning.ledger import FIRST_DAY, add_history

PLAN = DataPlan(gate_days=4, tune_days=3, window_days=10)
MATURITY = timedelta(days=2)


def sampled(plan: DataPlan, whole_history: bool = False):
    schema = current_schema().version
    snapshot = freeze(MATURITY)
    periods = plan_periods(snapshot, oldest_event(snapshot, schema), plan, whole_history=whole_history)
    return periods, draw_sample(snapshot, schema, periods, plan)


@pytest.fixture
def history(db):
    return add_history(rows=800, days=40, fraud_rate=0.1)


def test_periods_follow_one_another_up_to_the_matured_end(history):
    periods, _ = sampled(PLAN)
    assert periods.until == history[-1].occurred_at - MATURITY
    assert periods.until - periods.gate_from == timedelta(days=4)
    assert periods.gate_from - periods.tune_from == timedelta(days=3)
    assert periods.tune_from - periods.window_from == timedelta(days=10)
    assert periods.history_from == FIRST_DAY


def test_a_short_history_is_shared_out(history):
    periods, _ = sampled(replace(PLAN, gate_days=30, tune_days=30))
    span = periods.until - FIRST_DAY
    assert (periods.until - periods.gate_from) / span == pytest.approx(0.25)
    assert (periods.gate_from - periods.tune_from) / span == pytest.approx(0.15)


def test_history_before_the_limit_is_not_read(history):
    periods, sample = sampled(replace(PLAN, history_days=20))
    assert periods.history_from == periods.until - timedelta(days=20)
    assert sample.fit.rows.occurred_us.min() >= microseconds(periods.history_from)


def test_the_parts_hold_the_rows_of_their_periods(history):
    periods, sample = sampled(PLAN)
    bounds = [(sample.fit, periods.history_from, periods.tune_from)]
    bounds += [(sample.tune, periods.tune_from, periods.gate_from), (sample.gate, periods.gate_from, periods.until)]
    for part, start, end in bounds:
        inside = [d.seq for d in history if start <= d.occurred_at < end]
        assert sorted(part.rows.seq.tolist()) == inside
    assert sample.fit.frauds + sample.tune.frauds + sample.gate.frauds > 60


def test_all_frauds_of_the_history_are_replayed_and_good_rows_by_a_reservoir(history):
    periods, sample = sampled(replace(PLAN, replay_good_rows=20))
    old = sample.fit.rows.occurred_us < microseconds(periods.window_from)
    frauds_in_history = set()
    for decision in history:
        if decision.occurred_at < periods.window_from and decision.labels.exists():
            frauds_in_history.add(decision.seq)
    assert set(sample.fit.rows.seq[old & (sample.fit.rows.label == 1)].tolist()) == frauds_in_history
    assert (old & (sample.fit.rows.label == 0)).sum() == 20


def test_sampled_good_rows_weigh_what_they_stand_for(history):
    _, everything = sampled(PLAN, whole_history=True)
    _, thinned = sampled(replace(PLAN, window_good_rows=50), whole_history=True)
    good = thinned.fit.rows.label == 0
    assert good.sum() == 50
    assert thinned.fit.weight[good].sum() == pytest.approx((everything.fit.rows.label == 0).sum())
    assert set(thinned.fit.weight[~good]) == {1.0}


def test_all_of_the_history_weighs_no_more_than_the_window(history):
    periods, sample = sampled(replace(PLAN, window_days=5))
    old = sample.fit.rows.occurred_us < microseconds(periods.window_from)
    assert old.sum() > 3 * (~old).sum()
    assert sample.fit.weight[old].sum() == pytest.approx(sample.fit.weight[~old].sum(), rel=1e-4)
    # Scaling leaves the fraud rate of the history as it was.
    frauds = old & (sample.fit.rows.label == 1)
    assert sample.fit.weight[frauds].sum() / sample.fit.weight[old].sum() == pytest.approx(frauds.sum() / old.sum(), rel=1e-4)


def test_rows_to_measure_on_are_thinned_without_regard_to_their_class(history):
    _, sample = sampled(replace(PLAN, gate_days=20, gate_share=0.6, gate_rows=100))
    assert len(sample.gate.rows) == 100
    assert set(sample.gate.weight) == {1.0}
    assert 2 <= sample.gate.frauds <= 25  # 10 of 100 are expected


def test_the_digest_tells_other_rows_and_other_labels(history):
    _, first = sampled(PLAN)
    assert sampled(PLAN)[1].digest == first.digest
    assert sampled(replace(PLAN, gate_rows=30))[1].digest != first.digest
    history[0].labels.all().delete()
    label_changed = next(d for d in history if d.labels.exists())
    label_changed.labels.update(label="legitimate")
    assert sampled(PLAN)[1].digest != first.digest
