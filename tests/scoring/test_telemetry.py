"""What the engine counts, and what the metrics make of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.decisions.stamps import WORDS
from scoring.histograms import COMMIT, FEATURES, PROGRAM, STAGE_BOUNDS, STAGES, Histogram, StageTimes
from scoring.selectors.latency import percentile_ms
from scoring.telemetry import SHED_REASONS, EngineCounters


@given(st.lists(st.floats(0, 5), max_size=50))
def test_a_histogram_counts_each_value_once_in_its_own_bucket(values):
    histogram = Histogram((0.5, 1.0, 2.0))
    for value in values:
        histogram.observe(value)
    edges = [-1.0, 0.5, 1.0, 2.0, np.inf]
    assert histogram.counts == [sum(a < v <= b for v in values) for a, b in zip(edges, edges[1:], strict=False)]
    assert histogram.sum == pytest.approx(sum(values))


def test_stages_are_counted_by_batch_with_their_rows():
    times = StageTimes("cuda:0", "forest")
    times.observe(PROGRAM, 3e-6, 64)
    times.observe(PROGRAM, 3.0, 1)
    state = times.state()
    assert set(state) == {"program"}
    assert sum(state["program"]["counts"]) == 2 and state["program"]["counts"][-1] == 1
    assert (state["program"]["rows"], state["program"]["sum"]) == (65, pytest.approx(3.000003))
    assert state["program"]["counts"][[i for i, b in enumerate(STAGE_BOUNDS) if b >= 3e-6][0]] == 1


def test_the_stages_of_the_pipeline_are_those_of_the_metric():
    assert STAGES == ("parse", "idempotency", "features", "program", "decide", "render", "commit", "deliver")


def test_stamps_are_counted_bit_by_bit():
    counters = EngineCounters()
    counters.count_decisions(np.array([0, 0, 4]), 2, np.array([0, 1 << 2 | 1 << 6, 1 << 6]))
    counters.count_decisions(np.array([1]), 0, np.array([0]))
    counters.count_decisions(np.array([1]), 0)
    named = dict(zip(WORDS, counters.stamps, strict=True))
    assert {name: n for name, n in named.items() if n} == {"degraded_device": 1, "late_event": 2}
    assert (counters.decisions, counters.degraded, counters.outcomes[:2], counters.outcomes[4]) == (5, 2, [2, 2], 1)


def test_what_is_turned_away_counts_as_refused_too():
    counters = EngineCounters()
    for reason in SHED_REASONS:
        counters.count_shed(reason, 2)
    assert counters.refused == 12 and set(counters.shed.values()) == {2}
    with pytest.raises(KeyError):
        counters.count_shed("bad mood")


def test_requests_are_told_apart_by_door_and_status():
    counters = EngineCounters()
    counters.observe_latency(0.001)
    counters.observe_latency(0.002, 3, "drf", 503)
    counters.observe_latency(0.002, door="drf", status=404)
    state = counters.state()["requests"]
    assert {key: sum(found["counts"]) for key, found in state.items()} == {"fast 2xx": 1, "drf 5xx": 3, "drf 4xx": 1}
    assert state["drf 5xx"]["sum"] == pytest.approx(6.0)
    assert sum(counters.latency_counts) == 5


def test_the_recent_percentile_forgets_what_is_older_than_the_window():
    counters = EngineCounters()
    start = counters._window[0][0]
    for second in range(30):
        for _ in range(100):
            counters.observe_latency(2.0 if second < 5 else 0.001)
        counters.tick(start + second + 1)
    assert percentile_ms(counters.recent_latency(), 0.99) < 1.4
    assert sum(counters.recent_latency()) == 1000
    assert percentile_ms(counters.latency_counts, 0.99) > 1000


def test_the_busy_share_is_work_in_the_window_and_a_commit_is_waiting():
    counters = EngineCounters()
    start = counters._window[0][0]
    gpu = counters.program_stages("cuda:0", "forest")
    assert counters.program_stages("cuda:0", "forest") is gpu
    for second in range(20):
        counters.stages.observe(FEATURES, 0.25, 10)
        counters.stages.observe(COMMIT, 0.5, 10)
        gpu.observe(PROGRAM, 0.9, 10)
        counters.tick(start + second + 1)
    share = counters.busy_share(start + 20)
    assert share["cpu"] == pytest.approx(0.25) and share["cuda:0"] == pytest.approx(0.9)
