"""DRF's hook for the rate limit of a key.

DRF's own throttles read and write a cache in two steps, so that callers at the same time pass together ("not a security
control", its documentation says); this one takes from a bucket in one.
"""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.throttling import BaseThrottle

from scoring.api.keys import Client
from scoring.errors import RateLimited
from scoring.protection.guards import guards, limit_of
from scoring.protection.token_bucket import RateVerdict


class KeyThrottle(BaseThrottle):
    """A request takes one token of its key; people in the dashboard's session take none."""

    def allow_request(self, request, view) -> bool:
        if isinstance(request.user, Client):
            remember_verdict(request._request, take_tokens(request.user))
        return True


def take_tokens(client: Client, count: int = 1) -> RateVerdict | None:
    """Take `count` decisions of a key's limit, without waiting for anything. None is no limit.

    Raises:
        RateLimited: they are not there.
    """
    limit = limit_of(client.rate_per_second, client.rate_burst)
    if limit is None:
        return None
    verdict = guards().limiter.take(client.caller, limit, count)
    if not verdict.allowed:
        raise RateLimited(verdict.headers())
    return verdict


def remember_verdict(request: HttpRequest, verdict: RateVerdict | None) -> None:
    """Keep what the limits said, for the headers of the answer."""
    request.rate_verdict = verdict


def rate_headers(request: HttpRequest) -> dict[str, str]:
    """Return the RateLimit fields of the answer; empty where no limit was asked."""
    verdict: RateVerdict | None = getattr(request, "rate_verdict", None)
    return {} if verdict is None else verdict.headers()
