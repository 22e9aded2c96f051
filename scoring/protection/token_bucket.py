"""A token bucket: `rate` tokens a second flow in, at most `burst` are kept, and each decision takes one."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What a caller may send: `rate` decisions a second over time, `burst` of them at once."""

    rate: float
    burst: float

    def __post_init__(self) -> None:
        if not (0 < self.rate < math.inf and 1 <= self.burst < math.inf):
            raise ValueError(f"a rate limit needs rate > 0 and burst >= 1; got {self.rate} a second and {self.burst}")


@dataclass(frozen=True, slots=True)
class RateVerdict:
    """What a bucket said.

    Attributes:
        limit: most tokens that may be taken at once.
        remaining: whole tokens that are left.
        reset_seconds: until the bucket is full again.
        retry_after: seconds until what was asked for would be granted; 0 where it was.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float
    retry_after: float

    def headers(self) -> dict[str, str]:
        """The header fields of draft-ietf-httpapi-ratelimit-headers-06, and Retry-After (RFC 9110) where refused."""
        fields = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.reset_seconds)),
        }
        if not self.allowed:
            fields["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return fields


class TokenBucket:
    """A bucket in this process. Not locked: its owner is.

    More than `burst` tokens at once (a large batch) are granted when the bucket is full, and leave it in debt: the rate
    holds over time, and no size of batch is refused for ever.
    """

    __slots__ = ("limit", "tokens", "at")

    def __init__(self, limit: RateLimit, now: float, tokens: float | None = None) -> None:
        self.limit = limit
        self.tokens = limit.burst if tokens is None else tokens
        self.at = now

    def refill(self, now: float) -> None:
        """Let in what has flowed since the last call; a clock that went back lets in nothing."""
        if now > self.at:
            self.tokens = min(self.limit.burst, self.tokens + (now - self.at) * self.limit.rate)
        self.at = now

    def take(self, count: float, now: float) -> bool:
        """Take `count` tokens if they are there."""
        self.refill(now)
        if self.tokens < min(count, self.limit.burst):
            return False
        self.tokens -= count
        return True


def verdict_of(limit: RateLimit, tokens: float, allowed: bool, count: float) -> RateVerdict:
    """Describe a bucket that holds `tokens` after `count` were asked for."""
    missing = 0.0 if allowed else max(0.0, min(count, limit.burst) - tokens)
    return RateVerdict(
        allowed, int(limit.burst), max(0, int(tokens)), max(0.0, limit.burst - tokens) / limit.rate, missing / limit.rate
    )
