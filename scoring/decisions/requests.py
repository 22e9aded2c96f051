"""What goes into the engine and what comes out of it."""

from __future__ import annotations

import time
from typing import NamedTuple


class DecisionRequest(NamedTuple):
    """One transaction on its way to a decision.

    Attributes:
        body: the JSON as it was sent.
        received_us: when, microseconds since 1970.
        queued_ns: the same moment of the monotonic clock.
        backfill: it is history that the bank has dealt with already: it is recorded and learned from, but nobody is
            alerted. Where no model decided on it, its mode is backfill, and it counts in no figure of accuracy.
        trusted: the body is the canonical text of a transaction that was accepted before.
    """

    body: bytes
    received_us: int
    queued_ns: int
    backfill: bool = False
    trusted: bool = False


def request_now(body: bytes, *, backfill: bool = False, trusted: bool = False) -> DecisionRequest:
    """Return the request for a decision on a body that has just been received."""
    return DecisionRequest(body, time.time_ns() // 1000, time.perf_counter_ns(), backfill, trusted)


class Decided(NamedTuple):
    """The stored answer, byte for byte; `replayed` where the transaction had been decided before."""

    body: bytes
    replayed: bool
