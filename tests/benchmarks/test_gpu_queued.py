"""The loop of the GPU's queue benchmark, with a plain lane in place of the device."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.runtime.cost import CostLine
from inference_core.scheduling import CostModel, DynamicBatchConfig, Priority, Scheduler
from tests.benchmarks.gpu.queued import figures, poisson_arrivals, serve, union_us


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


def test_spans_of_two_lanes_count_once_where_they_overlap():
    assert union_us([(5.0, 9.0), (0.0, 6.0), (1.0, 2.0), (20.0, 21.0)]) == 10.0
    assert union_us([]) == 0.0


@pytest.mark.parametrize(("rows", "most"), [(1, 64), (10, 64), (100, 64)])
@pytest.mark.parametrize("arriving", [False, True])
def test_every_row_is_scored_once(rows: int, most: int, arriving: bool):
    requests, seen = 1_000, np.zeros(1_000 * rows, int)
    lanes = {name: PlainLane(seen) for name in ("a", "b")}
    costs = CostModel([(name, "full", CostLine("full", 10.0, 0.1)) for name in lanes])
    config = DynamicBatchConfig(max_batch_size=most, deadlines_ms={Priority.LIVE: 60_000.0})
    arrivals = poisson_arrivals(requests, 100_000.0) if arriving else None
    record = serve(Scheduler(config, costs), lanes, requests, rows, arrivals)
    assert (seen == 1).all() and record.refused == 0
    told = figures(record, requests, rows)
    assert told["rows"] == requests * rows == sum(record.batches)
    assert told["batch_rows"]["p99"] <= max(rows, most)
    assert told["latency_ms"]["p50"] > 0
