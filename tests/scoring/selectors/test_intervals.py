"""Wilson intervals against published and limiting values."""

from __future__ import annotations

import pytest

from scoring.selectors.intervals import proportion


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(hits, total, low, high):
    interval = proportion(hits, total).interval
    assert interval.value == hits / total
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def test_all_hits_stay_within_one():
    interval = proportion(5, 5).interval
    assert interval.high == 1.0 and 0.5 < interval.low < 1.0


def test_nothing_is_known_of_nothing():
    assert proportion(0, 0).interval is None


@pytest.mark.parametrize(("hits", "total"), [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(hits, total):
    with pytest.raises(ValueError, match="hits must be between"):
        proportion(hits, total)
