"""Hypothesis strategies that several suites share, and the one profile that all property tests run under.

The profile is derandomised: a run that was green stays green for the same code. Set HYPOTHESIS_PROFILE=explore to
search with a new seed and ten times as many examples.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from kernels.velocity_windows import Aggregation, EventBatch, WindowLayout

_SHARED: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
}
settings.register_profile("suite", max_examples=60, derandomize=True, database=None, **_SHARED)
settings.register_profile("explore", max_examples=600, **_SHARED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def examples(count: int) -> settings:
    """Return a decorator for a test that needs more or fewer examples than the profile says, in the same proportion."""
    return settings(max_examples=max(1, count * settings().max_examples // 60))


# --- windows -----------------------------------------------------------------------------------------------------------

KINDS = 2
_REPORTED = tuple(
    (kind, int(aggregation), window)
    for kind in range(KINDS)
    for aggregation, windows in (
        *((a, range(2)) for a in Aggregation if a < Aggregation.SINCE_LAST),
        (Aggregation.SINCE_LAST, range(1)),
        *((a, range(2)) for a in Aggregation if a.is_risk),
        *((a, range(3)) for a in Aggregation if a.is_last),
    )
    for window in windows
)
# So short that a few dozen events cross every edge: the longest look back is 30 and ten more are remembered.
SMALL_LAYOUT = WindowLayout(KINDS, (5, 20), (6, 18), 12, 40, 1.0, _REPORTED)


@dataclass(frozen=True)
class Step:
    """One thing that happens to a store: events arrive, or labels come, or events are taken out again.

    `chosen` are positions among all events that arrived so far, modulo their number.
    """

    kind: str
    events: tuple[tuple, ...] = ()
    chosen: tuple[int, ...] = ()
    fraud: tuple[int, ...] = ()


def _events(max_late: int) -> st.SearchStrategy[tuple]:
    rows, others = st.integers(-2, 2), st.integers(-2, 2)
    return st.tuples(
        # How much later than the newest event so far: zero is a tie, and negative is late.
        st.one_of(st.integers(0, 4), st.sampled_from([5, 6, 12, 20, 41]), st.integers(-max_late, -1)),
        st.one_of(st.integers(0, 3), st.sampled_from([10**12, 10**12 - 1, 999])),
        st.tuples(rows, rows),
        st.tuples(others, others),
        st.sampled_from([True, True, True, False]),
    )


@st.composite
def window_steps(draw: st.DrawFn, *, max_late: int = 60, others_than_events: bool = True) -> list[Step]:
    """Steps with ties, late and too late events, unknown and absent entities, dry rows, labels and removals."""
    arrivals = st.builds(lambda events: Step("events", tuple(events)), st.lists(_events(max_late), min_size=1, max_size=12))
    if not others_than_events:
        return draw(st.lists(arrivals, min_size=1, max_size=8))
    positions = st.lists(st.integers(0, 200), min_size=1, max_size=4)
    labels = st.builds(lambda at: Step("label", chosen=tuple(at), fraud=tuple(i % 2 for i in at)), positions)
    removals = st.builds(lambda at: Step("remove", chosen=tuple(at)), st.lists(st.integers(0, 200), min_size=1, max_size=2))
    return draw(st.lists(st.one_of(arrivals, arrivals, labels, removals), min_size=1, max_size=10))


def event_batch(rows: list[tuple]) -> EventBatch:
    """Return (time, amount, key, entities, others, insert) rows as a batch."""
    times, amounts, keys, entities, others, insert = zip(*rows, strict=True)
    return EventBatch(
        np.array(times, np.int64), np.array(amounts, np.int64), np.array(keys, np.uint64),
        np.array(entities, np.int32), np.array(others, np.int32), np.array(insert, np.uint8),
    )  # fmt: skip


def arrivals_of(steps: list[Step], start: int = 1_000) -> list[tuple[Step, list[tuple]]]:
    """Return each step with its events as rows for `event_batch`: times made absolute, keys numbered by arrival."""
    newest, key, placed = start, 0, []
    for step in steps:
        rows = []
        for later, amount, entities, others, insert in step.events:
            time = newest + later
            newest = max(newest, time)
            rows.append((time, amount, key, entities, others, insert))
            key += 1
        placed.append((step, rows))
    return placed


# --- transactions ------------------------------------------------------------------------------------------------------

START = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
_GAPS = st.one_of(
    st.sampled_from(
        [timedelta(0), timedelta(microseconds=1), timedelta(minutes=10), timedelta(hours=1), timedelta(days=1), timedelta(days=7)]
    ),
    st.builds(timedelta, minutes=st.integers(0, 3_000)),
    st.builds(timedelta, days=st.integers(3, 20)),
)


def _some(prefix: str, count: int) -> st.SearchStrategy[str | None]:
    return st.sampled_from([None, *(f"{prefix}{i}" for i in range(count))])


@st.composite
def transactions(draw: st.DrawFn, *, min_size: int = 1, max_size: int = 25, max_late_days: int = 6) -> list[dict[str, Any]]:
    """API bodies in arrival order: few parties, so that histories meet; ties, gaps at window edges and late ones."""
    count = draw(st.integers(min_size, max_size))
    newest, bodies = START, []
    for number in range(count):
        late = draw(st.sampled_from([False] * 5 + [True]))
        occurred = newest - draw(st.timedeltas(timedelta(0), timedelta(days=max_late_days))) if late else newest + draw(_GAPS)
        newest = max(newest, occurred)
        body = {
            "transaction_id": f"t{number}",
            "occurred_at": occurred.isoformat().replace("+00:00", "Z"),
            "amount_minor": draw(st.one_of(st.integers(0, 5_000), st.sampled_from([10_000, 950_000, 10**12]))),
            "currency": "EUR",
            "type": draw(st.sampled_from(["card_payment", "transfer", "cash_deposit"])),
            "channel": draw(st.sampled_from(["pos", "ecom", "mobile"])),
            "customer_id": draw(st.sampled_from(["c0", "c1"])),
            "account_id": draw(_some("a", 2)),
            "card_id": draw(_some("k", 2)),
            "merchant_id": draw(_some("m", 2)),
            "terminal_id": draw(_some("p", 2)),
            "device_id": draw(_some("d", 2)),
            "counterparty_id": draw(_some("b", 2)),
            "country": draw(st.sampled_from([None, "DE", "NL"])),
            "home_country": draw(st.sampled_from([None, "DE"])),
            "mcc": draw(st.sampled_from([None, "5411"])),
            "card_present": draw(st.sampled_from([None, True, False])),
            "is_recurring": draw(st.sampled_from([None, True])),
        }
        bodies.append({name: value for name, value in body.items() if value is not None})
    return bodies


cuts = st.lists(st.integers(1, 8), min_size=1, max_size=10)


def cut(items: list, sizes: list[int]) -> Iterator[list]:
    """Cut a list into parts of these sizes, over and over."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(items):
            return
        yield items[start : start + size]
        start += size
