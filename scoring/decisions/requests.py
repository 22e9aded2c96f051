"""What goes into the engine and what comes out of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from scoring.engine import Records
from scoring.transaction_records import transaction_reader


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


class ReadBatch(Sequence[DecisionRequest]):
    """n transactions that came in one body and that the quick reader has taken: a sequence of requests that has an object
    for none of them until one is asked for.

    Attributes:
        records: their columns, all of them accepted by the reader.
        received_us, queued_ns: int64 [n], as DecisionRequest has them.
        read_seconds: what reading them took.
    """

    __slots__ = ("queued_ns", "read_seconds", "received_us", "records")

    def __init__(self, records: Records, received_us: np.ndarray, queued_ns: np.ndarray, read_seconds: float) -> None:
        self.records, self.received_us, self.queued_ns, self.read_seconds = records, received_us, queued_ns, read_seconds

    def __len__(self) -> int:
        return len(self.received_us)

    def __getitem__(self, place):
        """Return one request, whose body is the canonical text, or a part of consecutive ones."""
        if isinstance(place, slice):
            first, last, step = place.indices(len(self))
            if step != 1:
                raise ValueError("a part of a batch is of consecutive requests")
            last = max(first, last)
            share = (last - first) / max(len(self), 1)
            records = _READER.part(self.records, first, last)
            return ReadBatch(records, self.received_us[place], self.queued_ns[place], self.read_seconds * share)
        ends = self.records.ends
        at = range(len(self))[place]
        body = self.records.text[ends[at] : ends[at + 1]]
        return DecisionRequest(body, int(self.received_us[at]), int(self.queued_ns[at]))

    def __iter__(self) -> Iterator[DecisionRequest]:
        return (self[place] for place in range(len(self)))

    @classmethod
    def joined(cls, parts: Sequence[ReadBatch]) -> ReadBatch:
        """Return the requests of several, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            _READER.joined([part.records for part in parts]),
            np.concatenate([part.received_us for part in parts]),
            np.concatenate([part.queued_ns for part in parts]),
            sum(part.read_seconds for part in parts),
        )


_READER = transaction_reader()


class NewAnswers(Sequence[Decided]):
    """Results of n transactions that were all decided now: a sequence of Decided that has an object for none of them until
    one is asked for.

    Attributes:
        bodies: their answers.
    """

    __slots__ = ("bodies",)

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies

    def __len__(self) -> int:
        return len(self.bodies)

    def __getitem__(self, place):
        """Return one result, or a part of them."""
        if isinstance(place, slice):
            return NewAnswers(self.bodies[place])
        return Decided(self.bodies[place], False)

    def __iter__(self) -> Iterator[Decided]:
        return (Decided(body, False) for body in self.bodies)


def results_in_order(parts: Sequence[tuple[int, Sequence]]) -> Sequence:
    """Return the results of (where it starts, results) in one sequence; the parts may come in any order."""
    ordered = [results for _, results in sorted(parts, key=lambda part: part[0])]
    if all(type(results) is NewAnswers for results in ordered):
        return NewAnswers([body for results in ordered for body in results.bodies])
    return [result for results in ordered for result in results]


def requests_together(parts: Sequence[Sequence[DecisionRequest]]) -> Sequence[DecisionRequest]:
    """Return the requests of all parts, in their order."""
    if len(parts) == 1:
        return parts[0]
    if all(type(part) is ReadBatch for part in parts):
        return ReadBatch.joined(parts)
    return [request for part in parts for request in part]
