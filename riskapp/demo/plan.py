"""What is streamed, and where history ends and the live part begins. Imports no Django."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from scoring.ingest import FeedItem, FileStream, feed, open_stream
from scoring.simulator import SimulationConfig, simulate

DAY_US = 86_400_000_000
# A first model needs some matured frauds, and nobody wants to wait for a history of millions.
MAX_HISTORY_ROWS = 120_000
MAX_HISTORY_SHARE = 0.6
# At this share of the history the first model is trained; the rest is decided with it, so that figures are there at once.
TRAIN_AT = 0.75


@dataclass(frozen=True)
class DemoPlan:
    """A stream cut in two.

    Attributes:
        title: what is streamed, for the screen.
        history: payments and labels up to `live_from_us`, by time.
        live: those after it.
        live_rows: payments in the live part.
        fraud_ids: transactions that will be reported as fraud; the others, when stopped, are vouched for by their customers.
        train_at_us: when, in event time, the first model is trained; what follows is decided with it.
        maturity_days: after how long a payment without a report counts as good.
    """

    title: str
    history: Iterator[FeedItem]
    live: Iterator[FeedItem]
    live_rows: int
    maturity_days: float
    fraud_ids: frozenset[str]
    train_at_us: int


def simulated_plan(*, seed: int, customers: int, history_days: int, live_days: int) -> DemoPlan:
    """Simulate a bank whose newest payments lie just before now, with a fraud wave and a drift in the live part."""
    days = history_days + live_days
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    config = SimulationConfig(seed=seed, start=midnight - timedelta(days=days), days=days, customers=customers)
    # Early enough that reports of both arrive, and are learned from, while one still watches.
    script = {"wave_at": (history_days + 0.15 * live_days) / days, "drift_at": (history_days + 0.4 * live_days) / days}
    stream = simulate(config.scripted(**script))
    live_from_us = config.start_us + history_days * DAY_US
    labels = stream.timed_labels()
    items = feed(stream.timed_arrivals(), labels)
    rows = int((stream.columns.occurred_us >= live_from_us).sum())
    title = f"simulated bank, {customers:,} customers, {history_days} days of history, {live_days} days live"
    return _cut(title, items, labels, config.start_us, live_from_us, rows, maturity_days=7.0)


def file_plan(path: Path, mapping: str | None) -> DemoPlan:
    """Stream a CSV or Parquet file; the first part of it is the history."""
    # The key only has to stay the same within one demo; it keeps card numbers out of the tokens.
    stream = open_stream(path, mapping=mapping, token_key=hashlib.sha256(str(path.resolve()).encode()).digest())
    first_us, cut_us, last_us, rows = _cut_of(stream)
    span_days = max((last_us - first_us) / DAY_US, 0.01)
    title = f"{path.name} ({stream.mapping.description}), {rows:,} payments over {span_days:.0f} days"
    labels = stream.timed_labels()
    items = feed(stream.timed_transactions(), labels)
    # No payment has matured before its report can have come.
    delay_days = stream.mapping.label.delay_days if stream.has_labels else 0.0
    live_rows = sum(int((chunk.occurred_us >= cut_us).sum()) for chunk in stream.chunks())
    return _cut(title, items, labels, first_us, cut_us, live_rows, maturity_days=max(delay_days, min(7.0, span_days / 8)))


def _cut_of(stream: FileStream) -> tuple[int, int, int, int]:
    """Return (first, cut, last) event times and the number of payments."""
    times: list[int] = []
    rows, last = 0, 0
    for chunk in stream.chunks():
        times += chunk.occurred_us[: max(0, MAX_HISTORY_ROWS - rows)].tolist()
        rows += len(chunk)
        last = int(chunk.occurred_us.max())
    if not rows:
        raise SystemExit(f"{stream.path.name} has no rows")
    return times[0], times[min(len(times) - 1, int(rows * MAX_HISTORY_SHARE))], last, rows


def _cut(
    title: str, items: Iterator[FeedItem], labels: list, first_us: int, live_from_us: int, live_rows: int, maturity_days: float
) -> DemoPlan:
    first_live: list[FeedItem] = []

    def history() -> Iterator[FeedItem]:
        for item in items:
            if item.at_us >= live_from_us:
                first_live.append(item)
                return
            yield item

    def live() -> Iterator[FeedItem]:
        yield from first_live
        yield from items

    train_at_us = first_us + int(TRAIN_AT * (live_from_us - first_us))
    fraud_ids = frozenset(body["transaction_id"] for _, body in labels if body["label"] in ("fraud", "chargeback"))
    return DemoPlan(title, history(), live(), live_rows, maturity_days, fraud_ids, train_at_us)


def in_chunks(items: Iterator[FeedItem], size: int) -> Iterator[list[FeedItem]]:
    """Yield lists of at most `size` items."""
    while chunk := list(islice(items, size)):
        yield chunk
