"""Throughput, latency, outcome mix and cost from engine samples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from scoring.selectors.engine_samples import Sample
from scoring.selectors.live import figures_of, live_figures, live_series
from scoring.selectors.live_series import STEP_SECONDS, WINDOW, series_of
from tests.factories import build_sample, make_sample

NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)


def samples(*rows: dict) -> list[Sample]:
    built = [build_sample(NOW - timedelta(seconds=row.pop("ago")), **row) for row in rows]
    built.sort(key=lambda sample: sample.at)
    return [Sample(*(getattr(sample, name) for name in Sample._fields)) for sample in built]


def figures(*rows: dict):
    found = samples(*rows)
    return figures_of(found, series_of(found, NOW), NOW)


def test_rates_of_two_processes_add_and_their_seconds_do_not():
    found = figures(
        {"ago": 1, "decisions": 100, "process": "a"},
        {"ago": 1, "decisions": 300, "process": "b", "seconds": 2.0},
        {"ago": 2, "decisions": 200, "process": "a"},
    )
    assert found.per_second_now == pytest.approx(300 / 2 + 300 / 2)
    assert found.processes == 2 and found.decisions == 600


def test_mean_starts_with_the_first_sample():
    rows = [{"ago": ago, "decisions": 50} for ago in range(1, 61)]
    assert figures(*rows).per_second_mean == pytest.approx(50)


def test_counts_shares_and_cost(settings):
    settings.CORE_HOUR_PRICE, settings.COST_CURRENCY = 0.36, "GBP"
    found = figures(
        {"ago": 3, "decisions": 300, "degraded": 3, "refused": 2, "batches": 100, "cpu_seconds": 0.5,
         "outcomes": {"approve": 280, "decline": 20}},
        {"ago": 2, "decisions": 100, "errors": 1, "replays": 7, "batches": 100, "cpu_seconds": 0.5, "queue_depth": 4,
         "outcomes": {"approve": 100}},
    )  # fmt: skip
    assert (found.refused, found.errors, found.replays, found.queue_depth) == (2, 1, 7, 4)
    assert found.degraded_share == pytest.approx(3 / 400) and found.per_batch == 2
    assert {o.name: o.count for o in found.outcomes} == {"approve": 380, "step_up": 0, "review": 0, "hold": 0, "decline": 20}
    assert sum(o.share for o in found.outcomes) == pytest.approx(1)
    # One core second is 0.0001 GBP, for 400 decisions.
    assert found.cost_per_million == pytest.approx(0.0001 / 400 * 1e6) and found.cost_currency == "GBP"


def test_latency_now_looks_at_the_last_seconds_alone():
    found = figures({"ago": 60, "latency_ms": {100.0: 50}}, {"ago": 1, "latency_ms": {1.0: 50}})
    assert found.latency_now.p99_ms <= 1.0 and found.latency_now.count == 50
    assert found.latency.p99_ms > 50 and found.latency.count == 100


def test_nothing_yet():
    found = figures()
    assert found.is_silent and found.newest_sample_at is None
    assert found.cost_per_million is None and found.degraded_share is None and found.per_second_now == 0


@pytest.mark.parametrize(("ago", "is_silent"), [(2, False), (30, True)])
def test_an_engine_that_stopped_reporting_is_silent(ago, is_silent):
    assert figures({"ago": ago, "decisions": 1}).is_silent is is_silent


def test_series_has_one_point_a_step_and_gaps_where_nobody_reported():
    series = series_of(samples(*({"ago": ago, "decisions": 10} for ago in range(60, 70))), NOW)
    assert len(series.at) == int(WINDOW.total_seconds()) // STEP_SECONDS
    assert series.at[-1] == NOW.timestamp() and series.at[1] - series.at[0] == STEP_SECONDS
    assert [rate for rate in series.per_second if rate is not None] == [10, 10]
    assert series.per_second[-1] is None


def test_a_sample_at_the_end_of_a_step_belongs_to_it():
    series = series_of(samples({"ago": 5, "decisions": 40}, {"ago": 4.9, "decisions": 5}), NOW)
    assert series.per_second[-2:] == [40, 5]


def test_the_running_step_is_left_out():
    series = series_of(samples({"ago": 0.5, "decisions": 10}), NOW - timedelta(seconds=0))
    late = series_of(samples({"ago": 0.5, "decisions": 10}), NOW - timedelta(seconds=0.4))
    assert series.per_second[-1] == 10 and 10 not in late.per_second


@pytest.mark.django_db
def test_only_the_window_is_read():
    now = timezone.now()
    make_sample(now - WINDOW - timedelta(seconds=5), decisions=1000)
    make_sample(now - timedelta(seconds=2), decisions=3)
    assert live_figures().decisions == 3
    assert max(rate or 0 for rate in live_series().per_second) <= 3
