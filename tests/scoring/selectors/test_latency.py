"""Percentiles from histograms."""

from __future__ import annotations

import numpy as np
import pytest

from scoring.selectors.latency import latency_of, percentile_ms, summed_counts
from scoring.telemetry import LATENCY_BOUNDS_MS

BUCKETS = len(LATENCY_BOUNDS_MS) + 1


def histogram(values) -> list[int]:
    return np.bincount(np.searchsorted(LATENCY_BOUNDS_MS, values), minlength=BUCKETS).tolist()


def test_bounds_rise_from_a_tenth_of_a_millisecond_to_ten_seconds():
    assert LATENCY_BOUNDS_MS[0] == 0.1 and LATENCY_BOUNDS_MS[-1] == 10_000
    assert all(a < b for a, b in zip(LATENCY_BOUNDS_MS, LATENCY_BOUNDS_MS[1:], strict=False))


def test_linear_inside_a_bucket():
    counts = [0] * BUCKETS
    counts[8], counts[9] = 30, 70
    low, middle, high = LATENCY_BOUNDS_MS[7:10]
    assert percentile_ms(counts, 0.15) == pytest.approx(low + 0.5 * (middle - low))
    assert percentile_ms(counts, 0.30) == pytest.approx(middle)
    assert percentile_ms(counts, 0.65) == pytest.approx(middle + 0.5 * (high - middle))


def test_first_bucket_starts_at_nothing():
    counts = [10] + [0] * (BUCKETS - 1)
    assert percentile_ms(counts, 0.5) == pytest.approx(LATENCY_BOUNDS_MS[0] / 2)


def test_overflow_is_told_as_the_last_bound():
    assert percentile_ms([0] * (BUCKETS - 1) + [3], 0.5) == LATENCY_BOUNDS_MS[-1]


def test_nothing_has_no_percentile():
    found = latency_of([0] * BUCKETS)
    assert (found.count, found.p50_ms, found.p99_ms) == (0, None, None)


def test_close_to_the_exact_percentiles_of_real_looking_latencies():
    values = np.random.default_rng(5).lognormal(0.5, 0.8, 20_000)
    found = latency_of(histogram(values))
    for share, told in ((0.5, found.p50_ms), (0.95, found.p95_ms), (0.99, found.p99_ms)):
        # Neighbouring bounds are a factor 1.33 apart; inside a bucket the error is far smaller.
        assert told == pytest.approx(np.quantile(values, share), rel=0.04)


def test_histograms_add_up_and_empty_ones_count_as_zeros():
    assert summed_counts([histogram([1.0]), [], histogram([1.0, 50.0])]) == histogram([1.0, 1.0, 50.0])


def test_a_histogram_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="expected"):
        summed_counts([[1, 2, 3]])
