"""A million queued requests through the live scheduler with one GPU as its units: throughput, batches, the device's busy share.

    python -m tests.benchmarks.gpu.queued      # the figures as JSON; they are also in those of `make gpu`, as "queued"

The core alone, in one thread: admit, queue, next, start, bring the rows to the device, score (rules, 200 trees, four
contributions), bring the answers back, completed. Lanes (streams with buffers of their own) are units of the scheduler, so that
the host prepares one batch, and the copies of one run, while the device scores the other. Two ways of queueing are measured:

- objects: every request is a Waiting of its own in Python, and the host gathers its row into pinned memory;
- rows (row_queue.py): single rows are written into a ring of pinned memory and leave it as slices, from where the device copies.

Times of the device are between events on its streams: from the first byte in to the last byte out, not when the host came to
launch or to look.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from inference_core.runtime.cost import measure
from inference_core.scheduling import CostModel, DynamicBatchConfig, Priority, Scheduler, Waiting, WaitingQueue

REQUESTS, TOP, LANES, FEATURES = 1_000_000, 4, 2, 64
LOAD = 0.8
_LEAD_US = 100_000.0  # before the first arrival, so that none is late from the start
# (rows a request, largest batch)
PINNED = ((1_000, 16_384), (10_000, 131_072))
CASES = ((1, 16), (1, 64), (1, 256), (1, 1_024), (1, 16_384), (1_000, 16_384), (1_000, 131_072))


class Lane(Protocol):
    """One of the device's streams, which runs a batch at a time; what starts one differs (GpuLane, RowLane)."""

    def is_done(self) -> bool:
        """Whether the answers of the batch lie in the host's memory."""
        ...

    def collect(self) -> tuple[float, float]:
        """Keep the answers, and return from when to when the device was at work on the batch, microseconds of its clock."""
        ...


class Feed(Protocol):
    """How requests are queued, and how what the scheduler takes is run.

    Attributes:
        chunk: the most requests that are queued between two looks at the lanes.
    """

    chunk: int

    def times(self, at: np.ndarray) -> Sequence[float]:
        """Return the arrivals as queue() reads them."""
        ...

    def queue(self, scheduler: Scheduler, numbers: range, at: Sequence[float]) -> int:
        """Ask for admission and queue these requests, which arrived at[number]; return how many were refused."""
        ...

    def launch(self, lane: Any, taken: Sequence[Waiting]) -> Sequence[Sequence[float]]:
        """Start a batch; return when its requests had arrived, in one or more pieces."""
        ...

    def answered(self, scheduler: Scheduler, lane: Any, taken: Sequence[Waiting]) -> None:
        """Pass the answers on; the lane has collected them."""
        ...

    def late(self, scheduler: Scheduler, late: Sequence[Waiting]) -> int:
        """Drop what is late; return how many requests it was."""
        ...


class ObjectFeed:
    """Requests of `rows` rows each as objects of a WaitingQueue: a call of admit() and of put() each."""

    chunk = 1 << 62

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def times(self, at: np.ndarray) -> list[float]:
        """See Feed."""
        return at.tolist()

    def queue(self, scheduler: Scheduler, numbers: range, at: Sequence[float]) -> int:
        """See Feed."""
        refused, rows, within = 0, self._rows, scheduler.config.deadline_us(Priority.LIVE)
        admit, put, now = scheduler.admit, scheduler.queue.put, now_us()
        for number in numbers:
            arrived = at[number]
            if admit(Priority.LIVE, rows, arrived + within, now) is None:
                put(Priority.LIVE, number, rows, arrived, arrived + within)
            else:
                refused += 1
        return refused

    def launch(self, lane: Any, taken: Sequence[Waiting]) -> list[list[float]]:
        """See Feed."""
        lane.launch([of.item * self._rows for of in taken], self._rows)
        return [[of.arrived_us for of in taken]]

    def answered(self, scheduler: Scheduler, lane: Any, taken: Sequence[Waiting]) -> None:
        """See Feed; the lane has spread them."""

    def late(self, scheduler: Scheduler, late: Sequence[Waiting]) -> int:
        """See Feed."""
        return len(late)


@dataclass
class Record:
    """What a run did; times in microseconds."""

    batches: list[int] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    latencies: list[tuple[float, Sequence[Sequence[float]]]] = field(default_factory=list)
    queue_us: float = 0.0
    serve_us: float = 0.0
    scheduler_us: float = 0.0
    launch_us: float = 0.0
    collect_us: float = 0.0
    refused: int = 0
    late: int = 0


def union_us(spans: Sequence[tuple[float, float]]) -> float:
    """Return how long at least one of the spans (from, to) lasted: two lanes at work at once count once."""
    total, end = 0.0, float("-inf")
    for begin, until in sorted(spans):
        total += max(0.0, until - max(begin, end))
        end = max(end, until)
    return total


def poisson_arrivals(requests: int, per_s: float, seed: int = 0) -> np.ndarray:
    """Return [requests] ascending microseconds of a Poisson stream."""
    return np.cumsum(np.random.default_rng(seed).exponential(1e6 / per_s, requests))


def serve(scheduler: Scheduler, lanes: dict[str, Any], feed: Feed, requests: int, arrivals: np.ndarray | None = None) -> Record:
    """Run requests, all queued before the first batch, or at their arrivals; one thread, which polls."""
    record, clock, running = Record(), now_us, {}
    next_one = 0
    if arrivals is None:
        begun = clock()
        at, next_one = feed.times(np.full(requests, begun)), requests
        begun = clock()
        record.refused = feed.queue(scheduler, range(requests), at)
        record.queue_us = clock() - begun
        arrivals = np.zeros(requests)
        begun = clock()
    else:
        begun = clock() + _LEAD_US
        at = feed.times(arrivals + begun)
    while next_one < requests or running or scheduler.queue.total:
        now = clock()
        if next_one < requests:
            came = min(int(np.searchsorted(arrivals, now - begun, "right")), next_one + feed.chunk)
            if came > next_one:
                record.refused += feed.queue(scheduler, range(next_one, came), at)
                next_one, now = came, clock()
        for device in [name for name in running if lanes[name].is_done()]:
            _complete(scheduler, lanes[device], feed, record, *running.pop(device))
            now = clock()
        while (dispatch := scheduler.next(now)) is not None:
            taken, late = scheduler.start(dispatch, now)
            started = clock()
            record.scheduler_us += started - now
            if late:
                record.late += feed.late(scheduler, late)
            if taken:
                arrived = feed.launch(lanes[dispatch.device], taken)
                running[dispatch.device] = dispatch, started, taken, arrived
                record.batches.append(dispatch.rows)
            now = clock()
            record.launch_us += now - started
    record.serve_us = clock() - begun
    return record


def _complete(
    scheduler: Scheduler, lane: Lane, feed: Feed, record: Record, dispatch, launched: float, taken: Sequence[Waiting], arrived
) -> None:
    begun = now_us()
    began, ended = lane.collect()
    feed.answered(scheduler, lane, taken)
    now = now_us()
    record.collect_us += now - begun
    record.spans.append((began, ended))
    record.latencies.append((now, arrived))
    # The device's own time: what the host did meanwhile for the other lane is no cost of this batch.
    begun = now_us()
    scheduler.completed(dispatch, launched, launched + ended - began)
    record.scheduler_us += now_us() - begun


def now_us() -> float:
    """Return monotonic microseconds."""
    return time.perf_counter_ns() / 1e3


def figures(record: Record, requests: int, rows: int) -> dict:
    """Return what is reported of a run."""
    batches, done = len(record.batches), sum(record.batches)
    busy = union_us(record.spans)
    latencies = np.concatenate([now - np.array(piece) for now, arrived in record.latencies for piece in arrived]) / 1e3
    return {
        "requests": requests, "rows_a_request": rows, "rows": done, "refused": record.refused, "late": record.late,
        "batches": batches,
        "rows_per_s": done / record.serve_us * 1e6,
        "rows_per_s_with_queueing": done / (record.serve_us + record.queue_us) * 1e6,
        "batch_rows": {"median": float(np.median(record.batches)), "p99": float(np.percentile(record.batches, 99))},
        "device_busy_share": busy / record.serve_us,
        "device_rows_per_busy_s": done / busy * 1e6,
        "host_ns_a_row": {
            "queue": record.queue_us / done * 1e3, "scheduler": record.scheduler_us / done * 1e3,
            "launch": record.launch_us / done * 1e3, "collect": record.collect_us / done * 1e3,
        },
        "scheduler_us_a_batch": record.scheduler_us / batches,
        "latency_ms": {"p50": float(np.percentile(latencies, 50)), "p99": float(np.percentile(latencies, 99))},
    }  # fmt: skip


def benchmark(requests: int = REQUESTS, repeats: int = 3, cases: Sequence[tuple[int, int]] = CASES) -> dict:
    """Return the figures of every case, the median of the repeats by rows/s, and of arrivals at LOAD of the best one-row case;
    first those of rows in a ring, then those of objects.

    Raises:
        AssertionError: a margin differs from that of the same row in one large batch.
    """
    import torch

    from kernels.gpu import upload
    from kernels.score_rows import gpu_cuda
    from tests.benchmarks.gpu.forest import random_forest, random_rows
    from tests.benchmarks.gpu.lanes import GpuLane
    from tests.benchmarks.gpu.row_queue import row_queue_figures

    forest = random_forest(missing_left=0.5, features=FEATURES)
    tables = upload(forest.tables, "cuda:0")
    x = random_rows(requests, FEATURES)
    answers = np.empty(requests, np.float32)
    scored = gpu_cuda.score_rows(tables, torch.from_numpy(x).to("cuda:0"), None, TOP).to_host()
    expected = scored.margin
    lanes = {f"cuda:0/{i}": GpuLane(tables, x, answers, max(most for _, most in cases), TOP) for i in range(LANES)}
    sizes = [1, 16, 256, 1_024, 16_384]
    lines = [(name, "full", measure("full", lane.run, sizes)) for name, lane in lanes.items()]
    gc.collect()
    gc.freeze()  # as the server does once it has started

    def one(rows: int, most: int, deadline_ms: float, arrivals: np.ndarray | None = None, count: int = requests) -> dict:
        answers.fill(np.nan)
        record = serve(plain_scheduler(lines, most, deadline_ms), lanes, ObjectFeed(rows), count // rows, arrivals)
        if not record.refused and not record.late:
            assert (answers[:count] == expected[:count]).all(), "a margin differs from the one in a single large batch"
        return {"max_batch_size": most, **figures(record, count // rows, rows)}

    queued = [median_of([one(rows, most, 60_000.0) for _ in range(repeats)]) for rows, most in cases]
    best = max((of for of in queued if of["rows_a_request"] == 1), key=lambda of: of["rows_per_s_with_queueing"])
    rate = LOAD * best["rows_per_s_with_queueing"]
    arriving = one(1, best["max_batch_size"], 100.0, poisson_arrivals(requests, rate))
    return {
        "device": torch.cuda.get_device_name(0), "program": f"200 trees, depth 6, {FEATURES} features, 50 rules, top {TOP}",
        "row_queue": row_queue_figures(forest.tables, x, scored, requests, repeats),
        "lanes": LANES, "lines_us": [[line.fixed_us, line.row_us] for _, _, line in lines],
        "all_queued": queued, "pinned_calls": [pinned_calls(tables, x, rows, most) for rows, most in PINNED],
        "arriving": {"per_s": rate, **arriving},
    }  # fmt: skip


def plain_scheduler(lines: Sequence[tuple], most: int, deadline_ms: float, queue: WaitingQueue | None = None) -> Scheduler:
    """Return a new scheduler; its costs start at the lines measured."""
    config = DynamicBatchConfig(max_batch_size=most, deadlines_ms={Priority.LIVE: deadline_ms})
    return Scheduler(config, CostModel(lines), queue=queue)


def median_of(runs: Sequence[dict]) -> dict:
    """Return the run in the middle by rows/s."""
    return sorted(runs, key=lambda of: of["rows_per_s"])[len(runs) // 2]


def pinned_calls(tables, x: np.ndarray, rows: int, most: int, total: int = 10_000_000) -> dict:
    """Return the figures of calls whose rows lie in pinned memory already: the host gathers nothing."""
    import torch

    from tests.benchmarks.gpu.lanes import GpuLane

    pinned = torch.from_numpy(x).pin_memory()
    source = torch.cat([pinned] * (total // len(x))).pin_memory() if total > len(x) else pinned
    answers = np.zeros(len(source), np.float32)
    lanes = {f"cuda:0/{i}": GpuLane(tables, source.numpy(), answers, most, TOP, source) for i in range(LANES)}
    lines = [(name, "full", measure("full", lane.run, [1, 1_024, 16_384])) for name, lane in lanes.items()]
    requests = len(source) // rows
    record = serve(plain_scheduler(lines, most, 60_000.0), lanes, ObjectFeed(rows), requests)
    assert record.refused or (answers.reshape(-1, len(x)) == answers[: len(x)]).all(), "equal rows got different margins"
    return {"max_batch_size": most, **figures(record, requests, rows)}


if __name__ == "__main__":
    print(json.dumps(benchmark(), indent=1))
