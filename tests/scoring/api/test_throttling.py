"""The rate limit of a key on the stock DRF path, and what the lean path is to call."""

from __future__ import annotations

import pytest

from scoring.api.keys import create_key, key_cache
from scoring.api.throttling import take_tokens
from scoring.errors import RateLimited
from scoring.models.api_key import SCOPES
from scoring.protection.guards import guards, limit_of
from tests.scoring.api.clients import WAYS
from tests.scoring.api.documents import assert_problem

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/decisions"


@pytest.fixture
def slow(settings):
    """A limit that does not refill during a test."""
    settings.RATE_LIMIT_PER_SECOND, settings.RATE_LIMIT_BURST = 0.001, 3


@pytest.mark.any_database
def test_a_key_that_asks_too_fast_is_told_when_to_come_back(slow, django_api):
    answers = [django_api.get(URL) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert_problem(answers[-1], 429, "rate_limited")
    assert answers[-1].json["retryable"] is True
    headers = answers[-1].headers
    assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("3", "0")
    assert 900 <= int(headers["retry-after"]) <= 1000 and 2900 <= int(headers["ratelimit-reset"]) <= 3000


def test_other_keys_go_on(slow, django_api, make_key):
    for _ in range(4):
        django_api.get(URL)
    assert WAYS["django"](make_key("decisions:read")).get(URL).status == 200


def test_without_a_limit_nothing_is_counted(django_api):
    assert all(django_api.get(URL).status == 200 for _ in range(20))
    assert guards().limiter.granted == 0


def test_a_key_may_have_limits_of_its_own(slow, ledger):
    own = WAYS["django"](create_key("fast", list(SCOPES), rate_per_second=0.001, rate_burst=5))
    assert [own.get(URL).status for _ in range(6)] == [200] * 5 + [429]
    free = WAYS["django"](create_key("free", list(SCOPES), rate_per_second=0))
    assert {free.get(URL).status for _ in range(10)} == {200}


def test_the_lean_path_takes_a_batch_as_its_decisions(slow, ledger):
    client = key_cache.client(create_key("batch", list(SCOPES)))
    assert take_tokens(client, 2).remaining == 1
    with pytest.raises(RateLimited) as refused:
        take_tokens(client, 2)
    assert refused.value.headers["RateLimit-Remaining"] == "1" and int(refused.value.headers["Retry-After"]) >= 900


@pytest.mark.parametrize(
    ("own", "settings_say", "rate", "burst"),
    [
        ((None, None), (0, 0), None, None),
        ((None, None), (50, 0), 50, 50),
        ((None, None), (0.5, 0), 0.5, 1),
        ((None, None), (50, 200), 50, 200),
        ((None, 7), (50, 200), 50, 7),
        ((10, None), (50, 200), 10, 10),
        ((10, 20), (0, 0), 10, 20),
        ((0, None), (50, 200), None, None),
    ],
)
def test_which_limit_holds(settings, own, settings_say, rate, burst):
    settings.RATE_LIMIT_PER_SECOND, settings.RATE_LIMIT_BURST = settings_say
    limit = limit_of(*own)
    assert (None if limit is None else (limit.rate, limit.burst)) == (None if rate is None else (rate, burst))


@pytest.mark.parametrize("wrong", [{"rate_per_second": -1}, {"rate_per_second": float("nan")}, {"rate_burst": 0}])
def test_a_limit_that_makes_no_sense_is_refused(ledger, wrong):
    with pytest.raises(ValueError, match="must be"):
        create_key("wrong", list(SCOPES), **wrong)
