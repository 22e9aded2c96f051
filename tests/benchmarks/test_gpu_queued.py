"""The loop of the GPU's queue benchmark, with a plain lane in place of the device."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.runtime.cost import CostLine
from inference_core.scheduling import Priority, RowQueue, RowRing
from tests.benchmarks.gpu import row_queue
from tests.benchmarks.gpu.queued import ObjectFeed, figures, plain_scheduler, poisson_arrivals, serve, union_us


class PlainLane:
    """Is done when it is asked for the second time; counts what it was given."""

    def __init__(self, seen: np.ndarray) -> None:
        self._seen, self._at, self._asked = seen, 0.0, 0

    def launch(self, first: list[int], rows: int) -> None:
        for start in first:
            self._seen[start : start + rows] += 1
        self._asked = 0

    def is_done(self) -> bool:
        self._asked += 1
        return self._asked > 1

    def collect(self) -> tuple[float, float]:
        self._at += 20.0
        return self._at - 10.0, self._at


class PlainRowLane(PlainLane):
    """Its margin of a row is the row's first value, doubled."""

    def __init__(self, x: np.ndarray, margin: np.ndarray) -> None:
        super().__init__(np.zeros(0))
        self._x, self._margin = x, margin

    def launch(self, places: list[slice]) -> None:
        for place in places:
            self._margin[place] = 2 * self._x[place, 0]
        self._asked = 0

    def kernel_span(self) -> tuple[float, float]:
        return self._at - 8.0, self._at - 2.0


def lines(names) -> list[tuple[str, str, CostLine]]:
    return [(name, "full", CostLine("full", 10.0, 0.1)) for name in names]


def test_spans_of_two_lanes_count_once_where_they_overlap():
    assert union_us([(5.0, 9.0), (0.0, 6.0), (1.0, 2.0), (20.0, 21.0)]) == 10.0
    assert union_us([]) == 0.0


@pytest.mark.parametrize(("rows", "most"), [(1, 64), (10, 64), (100, 64)])
@pytest.mark.parametrize("arriving", [False, True])
def test_every_row_is_scored_once(rows: int, most: int, arriving: bool):
    requests, seen = 1_000, np.zeros(1_000 * rows, int)
    lanes = {name: PlainLane(seen) for name in ("a", "b")}
    arrivals = poisson_arrivals(requests, 100_000.0) if arriving else None
    record = serve(plain_scheduler(lines(lanes), most, 60_000.0), lanes, ObjectFeed(rows), requests, arrivals)
    assert (seen == 1).all() and record.refused == 0
    told = figures(record, requests, rows)
    assert told["rows"] == requests * rows == sum(record.batches)
    assert told["batch_rows"]["p99"] <= max(rows, most)
    assert told["latency_ms"]["p50"] > 0


@pytest.mark.parametrize(
    ("capacity", "arriving", "deadline_ms"), [(5_000, False, 60_000.0), (700, True, 60_000.0), (500, True, 5.0)]
)
def test_every_row_of_a_ring_is_answered_once(monkeypatch, capacity: int, arriving: bool, deadline_ms: float):
    """Also where the ring is short and the time too: what is not refused is answered, or dropped late."""
    monkeypatch.setattr(row_queue, "CHUNK", 128)
    source = np.random.default_rng(0).standard_normal((1_500, 3), np.float32)
    requests, x, margin = 5_000, np.zeros((capacity, 3), np.float32), np.full(capacity, np.nan, np.float32)
    ring = RowRing(x)
    feed = row_queue.RowFeed(ring, margin, source, requests)
    lanes = {name: PlainRowLane(x, margin) for name in ("a", "b")}
    scheduler = plain_scheduler(lines(lanes), 64, deadline_ms, RowQueue({Priority.LIVE: ring}))
    record = serve(scheduler, lanes, feed, requests, poisson_arrivals(requests, 1e6) if arriving else None)
    feed.check(2 * source[:, 0])
    told = figures(record, requests, 1)
    assert told["rows"] + record.refused + record.late == requests
    assert told["batch_rows"]["p99"] <= 64 and len(feed.kernel_spans) == told["batches"]
    assert arriving or told["rows"] == requests


def test_a_wrong_margin_or_a_row_without_an_answer_is_found():
    source = np.ones((4, 1), np.float32)
    for answers, count in (([2, 2, 3, 2], [1, 1, 1, 1]), ([2, 2, 2, 2], [1, 0, 1, 1]), ([2, 2, 2, 2], [1, 2, 1, 1])):
        feed = row_queue.RowFeed(RowRing(np.zeros((4, 1), np.float32)), np.zeros(4, np.float32), source, 4)
        feed._tickets, feed._request[:], feed._answers[:], feed._answered[:] = 4, np.arange(4), answers, count
        with pytest.raises(AssertionError):
            feed.check(2 * source[:, 0])
