"""The bucket: never more than burst + rate x time, and never less than that to a caller who asks for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.protection.token_bucket import RateLimit, TokenBucket, verdict_of
from tests.strategies import examples


@examples(100)
@given(
    st.floats(0.1, 1000),
    st.floats(1, 500),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40)), min_size=1, max_size=60),
)
def test_what_is_granted_is_bounded_by_burst_and_rate(rate, burst, asked):
    bucket, now, granted, largest = TokenBucket(RateLimit(rate, burst), 0.0), 0.0, 0, 0
    for wait, count in asked:
        now += wait
        granted += count if bucket.take(count, now) else 0
        largest = max(largest, count)
        # A batch larger than the burst leaves a debt of at most its own size.
        assert granted <= burst + rate * now + max(0.0, largest - burst) + 1e-6


def test_a_caller_within_its_rate_is_never_refused():
    bucket = TokenBucket(RateLimit(10, 1), 0.0)
    assert all(bucket.take(1, i * 0.1000001) for i in range(1000))


def test_a_batch_above_the_burst_is_paid_for_afterwards():
    bucket = TokenBucket(RateLimit(10, 50), 0.0)
    assert bucket.take(100, 0.0) and bucket.tokens == -50
    assert not bucket.take(1, 5.0) and bucket.take(1, 5.11)


def test_a_clock_that_goes_back_grants_nothing():
    bucket = TokenBucket(RateLimit(10, 1), 100.0)
    assert bucket.take(1, 100.0)
    assert not bucket.take(1, 50.0)
    assert bucket.take(1, 50.11)


def test_headers_of_a_grant_and_of_a_refusal():
    limit = RateLimit(2, 10)
    assert verdict_of(limit, 7.5, True, 1).headers() == {
        "RateLimit-Limit": "10", "RateLimit-Remaining": "7", "RateLimit-Reset": "2",
    }  # fmt: skip
    assert verdict_of(limit, -5.5, False, 1).headers() == {
        "RateLimit-Limit": "10", "RateLimit-Remaining": "0", "RateLimit-Reset": "8", "Retry-After": "4",
    }  # fmt: skip


@pytest.mark.parametrize(("rate", "burst"), [(0, 5), (-1, 5), (5, 0.5), (float("inf"), 5), (float("nan"), 5)])
def test_a_limit_that_makes_no_sense_is_refused(rate, burst):
    with pytest.raises(ValueError, match="rate > 0 and burst >= 1"):
        RateLimit(rate, burst)
