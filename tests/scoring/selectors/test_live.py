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


def test_rates_of_two_processes_add():
    rows = [{"ago": ago, "decisions": 100, "process": "a"} for ago in range(15)]
    rows += [{"ago": ago, "decisions": 600, "process": "b", "seconds": 2.0} for ago in range(0, 15, 2)]
    found = figures(*rows)
    assert found.per_second_now == pytest.approx(100 + 300)
    assert found.processes == 2


def test_idle_seconds_leave_no_sample_and_count_as_nothing():
    assert figures({"ago": 1, "decisions": 50}, {"ago": 9, "decisions": 50}).per_second_now == pytest.approx(10)


def test_mean_starts_with_the_first_sample():
    rows = [{"ago": ago, "decisions": 50} for ago in range(0, 60)]
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
    assert found.degraded_share == pytest.approx(3 / 400)
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
    assert found.is_idle and found.newest_sample_at is None
    assert found.cost_per_million is None and found.degraded_share is None and found.per_second_now == 0
    assert set(series_of([], NOW).per_second) == {None}


@pytest.mark.parametrize(("ago", "is_idle"), [(2, False), (30, True)])
def test_without_a_recent_sample_nobody_asks(ago, is_idle):
    assert figures({"ago": ago, "decisions": 1}).is_idle is is_idle


def rates(*rows: dict, now=NOW) -> dict[int, float | None]:
    """Seconds before NOW at which a step ends -> rate."""
    series = series_of(samples(*rows), now)
    assert len(series.at) == int(WINDOW.total_seconds()) // STEP_SECONDS == len(series.p99_ms)
    return dict(zip([int(NOW.timestamp()) - at for at in series.at], series.per_second, strict=True))


def test_series_is_zero_where_nobody_asked_and_unknown_before_the_first_sample():
    found = rates(*({"ago": ago, "decisions": 10} for ago in range(60, 70)))
    assert (found[60], found[65]) == (10, 10)
    assert found[55] == found[5] == 0
    assert found[70] is None


def test_a_sample_across_two_steps_counts_in_both_by_its_share():
    found = rates({"ago": 59.75, "decisions": 100}, {"ago": 80, "decisions": 1})
    assert (found[60], found[55]) == (pytest.approx(75 / 5), pytest.approx(25 / 5))


def test_a_step_is_shown_when_its_samples_must_have_arrived():
    assert min(rates({"ago": 9, "decisions": 1})) == 5
    assert min(rates({"ago": 9, "decisions": 1}, now=NOW + timedelta(seconds=2))) == 0


def test_latencies_of_a_step():
    series = series_of(samples({"ago": 61, "latency_ms": {5.0: 10}}, {"ago": 90, "latency_ms": {50.0: 1}}), NOW)
    told = [value for value in series.p50_ms if value is not None]
    assert len(told) == 2 and told[0] > 30 and 4 < told[1] <= 5.7


@pytest.mark.django_db
def test_only_the_window_is_read():
    now = timezone.now()
    make_sample(now - WINDOW - timedelta(seconds=5), decisions=1000)
    make_sample(now - timedelta(seconds=2), decisions=3)
    assert live_figures().decisions == 3
    assert max(rate or 0 for rate in live_series().per_second) <= 3
