"""Compares what was acknowledged with what is in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Storage:
    """Acknowledged transactions that are not stored, stored more than once, and the number of all that were acknowledged."""

    acknowledged: int
    lost: int
    doubled: int


def compare(prefix: str, batch: int, promised: Iterable[int], stored_ids: Iterable[str]) -> Storage:
    """Return what became of the acknowledged requests.

    Args:
        batch: transactions a request; request k holds the ids `prefix-(k * batch)` to `prefix-(k * batch + batch - 1)`.
        promised: numbers of the requests that were acknowledged.
        stored_ids: one transaction id a stored decision.
    """
    times = Counter(stored_ids)
    expected = [f"{prefix}-{number}" for k in promised for number in range(k * batch, k * batch + batch)]
    doubled = sum(count > 1 for count in times.values())
    return Storage(len(expected), sum(name not in times for name in expected), doubled)
