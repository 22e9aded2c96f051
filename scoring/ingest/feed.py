"""Payments and labels as one sequence by time, as a bank would send them."""

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple


class FeedItem(NamedTuple):
    """What is sent at `at_us` (microseconds since 1970-01-01 UTC)."""

    at_us: int
    kind: Literal["transaction", "label"]
    body: dict[str, Any]


def feed(
    transactions: Iterable[tuple[int, dict[str, Any]]],
    labels: Iterable[tuple[int, dict[str, Any]]],
) -> Iterator[FeedItem]:
    """Merge timed payments and timed labels; at equal times the payment comes first.

    Both must be in order of time. Nothing is read ahead but one item of each, so the payments may
    be an endless or a large stream. A label is held back until its time, even if that is after the
    last payment.
    """
    payments = (FeedItem(at_us, "transaction", body) for at_us, body in transactions)
    reports = (FeedItem(at_us, "label", body) for at_us, body in labels)
    return heapq.merge(payments, reports, key=lambda item: item.at_us)
