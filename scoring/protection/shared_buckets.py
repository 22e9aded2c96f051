"""Token buckets in Redis or Valkey, shared by all processes: one atomic script call."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import redis

_SCRIPT = resources.files("scoring.protection").joinpath("take_tokens.lua").read_text()


@dataclass(frozen=True, slots=True)
class Booking:
    """One bucket in a call: `spent` tokens are gone already (negative: come back), `wanted` ones are asked for."""

    key: str
    rate: float
    burst: float
    spent: float = 0.0
    wanted: float = 0.0


@dataclass(frozen=True, slots=True)
class Booked:
    """What a call found: was `wanted` granted, how many tokens are left."""

    granted: bool
    tokens: float


def redis_client(url: str, timeout: float) -> redis.Redis:
    """Return a client for an address as REDIS_URL takes it; nothing it does takes longer than `timeout` seconds a try."""
    return redis.Redis.from_url(
        url.replace("redis+socket://", "unix://", 1),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=None,
        health_check_interval=0,
    )


class SharedBuckets:
    """The buckets behind one client."""

    def __init__(self, client: redis.Redis, prefix: str = "riskapp:rate:") -> None:
        self._client = client
        self._prefix = prefix
        self._script = client.register_script(_SCRIPT)
        self._process = f"{socket.gethostname()}:{os.getpid()}"

    def book(self, bookings: Sequence[Booking]) -> tuple[int, list[Booked]]:
        """Book all in one call and return (how many processes share the limits, one result a booking).

        Raises:
            redis.RedisError: no answer in time, or a wrong one.
        """
        keys = [f"{self._prefix}processes", *(f"{self._prefix}bucket:{booking.key}" for booking in bookings)]
        arguments: list = [self._process]
        for booking in bookings:
            arguments += (booking.rate, booking.burst, booking.spent, booking.wanted)
        processes, *found = self._script(keys=keys, args=arguments)
        pairs = zip(found[::2], found[1::2], strict=True)
        return int(processes), [Booked(bool(granted), float(tokens)) for granted, tokens in pairs]

    def close(self) -> None:
        self._client.close()
