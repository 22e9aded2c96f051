"""The cases of queued.py with single rows in a ring of pinned memory: no request is touched in Python, and no row gathered.

Each row is admitted or refused on its own deadline, written into the ring in chunks as a reader of the network would, scored from
where it lies, and its answer read by its ticket. After each run it is checked that every admitted row was answered once, or
dropped late, and that each margin equals that of the same row in one large batch; where the ring holds all of them, that every
other answer does too.

    python -m tests.benchmarks.gpu.row_queue      # these cases alone, as JSON
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inference_core.runtime.cost import measure
from inference_core.scheduling import Priority, RowQueue, RowRing, Run, Scheduler, Waiting
from kernels.score_rows import ScoredRows
from tests.benchmarks.gpu.queued import (
    FEATURES,
    LOAD,
    REQUESTS,
    TOP,
    figures,
    median_of,
    now_us,
    plain_scheduler,
    poisson_arrivals,
    serve,
    union_us,
)

CAPACITY, CHUNK, ARRIVING = 1 << 20, 16_384, 10_000_000
LOADS = (0.5, LOAD)
# (lanes, largest batch)
CASES = ((2, 1_024), (2, 4_096), (2, 16_384), (3, 16_384), (2, 65_536), (3, 65_536), (4, 65_536), (4, 131_072))


class RowFeed:
    """Requests of one row each, written into the LIVE ring a chunk at a time; see queued.Feed.

    Args:
        ring: where they are written.
        margin: [capacity] float32, the answers by slot.
        source: [B, F] float32: request n sends row n % B.
        requests: how many will come.
    """

    chunk = CHUNK

    def __init__(self, ring: RowRing, margin: np.ndarray, source: np.ndarray, requests: int) -> None:
        self._ring, self._margin, self._source = ring, margin, source
        self._request, self._arrived = np.full(requests, -1), np.full(requests, np.nan)  # by ticket
        self._answers, self._answered = np.full(requests, np.nan, np.float32), np.zeros(requests, np.uint8)
        self._tickets = self._late = 0
        self.kernel_spans: list[tuple[float, float]] = []

    def times(self, at: np.ndarray) -> np.ndarray:
        """See Feed."""
        return at

    def queue(self, scheduler: Scheduler, numbers: range, at: np.ndarray) -> int:
        """See Feed."""
        within, refused, begin = scheduler.config.deadline_us(Priority.LIVE), 0, numbers.start
        while begin < numbers.stop:
            # Up to the end of the source, so that a chunk is one slice of it.
            end = min(numbers.stop, begin + CHUNK, (begin // len(self._source) + 1) * len(self._source))
            refused += self._write(scheduler, begin, end, at[begin:end], within)
            begin = end
        return refused

    def _write(self, scheduler: Scheduler, begin: int, end: int, arrived: np.ndarray, within: float) -> int:
        deadlines, first = arrived + within, begin % len(self._source)
        x, request = self._source[first : first + end - begin], np.arange(begin, end)
        admitted, refusal = scheduler.admit_rows(Priority.LIVE, deadlines, now_us())
        if refusal is not None:
            x, request, arrived, deadlines = x[admitted], request[admitted], arrived[admitted], deadlines[admitted]
        ticket = scheduler.queue.write(Priority.LIVE, x, arrived, deadlines)
        self._request[ticket : ticket + len(x)] = request
        self._tickets = ticket + len(x)
        return end - begin - len(x)

    def launch(self, lane: Any, taken: Sequence[Waiting]) -> list[np.ndarray]:
        """See Feed."""
        lane.launch([of.item.slots for of in taken])
        return [self._kept(of.item) for of in taken]

    def _kept(self, run: Run) -> np.ndarray:
        # Slots are written again; a new array each time would cost the host as much as the launch does.
        arrived = self._arrived[run.first : run.first + run.rows]
        arrived[:] = self._ring.arrived_us[run.slots]
        return arrived

    def answered(self, scheduler: Scheduler, lane: Any, taken: Sequence[Waiting]) -> None:
        """See Feed: the answers go to whoever holds the tickets, and the slots are free again."""
        self.kernel_spans.append(lane.kernel_span())
        for of in taken:
            tickets = slice(of.item.first, of.item.first + of.rows)
            self._answers[tickets] = self._margin[of.item.slots]
            self._answered[tickets] += 1
            scheduler.queue.release(Priority.LIVE, of.item)

    def late(self, scheduler: Scheduler, late: Sequence[Waiting]) -> int:
        """See Feed."""
        for of in late:
            self._answered[of.item.first : of.item.first + of.rows] += 1
            scheduler.queue.release(Priority.LIVE, of.item)
            self._late += of.rows
        return sum(of.rows for of in late)

    def check(self, expected: np.ndarray) -> None:
        """Raise AssertionError unless every admitted row was answered, or dropped, once, and has the margin of its request."""
        assert (self._answered[: self._tickets] == 1).all(), "a row was not answered, or twice"
        request, answers = self._request[: self._tickets], self._answers[: self._tickets]
        assert (np.diff(request) > 0).all(), "tickets are not in the order of arrival"
        right = answers == expected[request % len(expected)]
        assert np.count_nonzero(~right) == self._late, "a margin differs from the one in a single large batch"


def row_queue_figures(
    tables, source: np.ndarray, expected: ScoredRows, requests: int, repeats: int, cases: Sequence[tuple[int, int]] = CASES
) -> dict:
    """Return the figures of the cases, all queued, and of arrivals at LOADS of the case that is quickest with the queueing.

    Args:
        tables: ScoreTables of the program.
        source: [B, F] float32.
        expected: the answers to its rows in one large batch.

    Raises:
        AssertionError: an answer is missing, given twice or differs.
    """
    import torch

    from inference_core.runtime.devices import Device, DeviceKind
    from inference_core.runtime.gpu import OnDevice
    from inference_core.runtime.gpu_lane import AnswerRing, CudaStream, RowLane, pinned_rows

    major, minor = torch.cuda.get_device_capability(0)
    on_device = OnDevice(tables, Device(DeviceKind.CUDA, 0, torch.cuda.get_device_name(0), f"sm_{major}{minor}"))
    x = pinned_rows(on_device, CAPACITY)
    answers = AnswerRing(on_device, CAPACITY, TOP)
    x[: len(source)] = source[:CAPACITY]  # what the costs are measured on
    origin, largest = RowLane.mark(CudaStream(on_device.tables.device)), max(most for _, most in cases)
    made = [RowLane(on_device, x, answers, largest, origin=origin) for _ in range(max(count for count, _ in cases))]
    sizes = [rows for rows in (1, 1_024, 16_384) if rows <= largest]
    lines = [(f"cuda:0/{i}", "full", measure("full", runner(lane), sizes)) for i, lane in enumerate(made)]

    def one(lanes: int, most: int, deadline_ms: float, count: int, arrivals: np.ndarray | None = None) -> dict:
        answers.margin.fill(np.nan)
        ring = RowRing(x)
        feed = RowFeed(ring, answers.margin, source, count)
        scheduler = plain_scheduler(lines[:lanes], most, deadline_ms, RowQueue({Priority.LIVE: ring}))
        record = serve(scheduler, {f"cuda:0/{i}": lane for i, lane in enumerate(made[:lanes])}, feed, count, arrivals)
        feed.check(expected.margin)
        if arrivals is None and not record.refused and not record.late and count <= min(CAPACITY, len(source)):
            check_answers(answers, expected, count)
        kernel_share = union_us(feed.kernel_spans) / record.serve_us
        return {"lanes": lanes, "max_batch_size": most, **figures(record, count, 1), "kernel_busy_share": kernel_share}

    queued = [median_of([one(lanes, most, 60_000.0, requests) for _ in range(repeats)]) for lanes, most in cases]
    best = max(queued, key=lambda of: of["rows_per_s_with_queueing"])
    arriving, count = [], ARRIVING * requests // 1_000_000
    for load in LOADS:
        rate = load * best["rows_per_s_with_queueing"]
        run = one(best["lanes"], best["max_batch_size"], 100.0, count, poisson_arrivals(count, rate))
        arriving.append({"per_s": rate, "load": load, **run})
    lines_us = [[line.fixed_us, line.row_us] for _, _, line in lines]
    return {"capacity": CAPACITY, "chunk": CHUNK, "lines_us": lines_us, "all_queued": queued, "arriving": arriving}


def check_answers(answers: Any, expected: ScoredRows, rows: int) -> None:
    """Raise AssertionError unless the first slots of an AnswerRing hold the answers to the first rows, bit for bit."""
    pairs = {
        "hit": expected.bits.hit, "insufficient": expected.bits.insufficient, "error": expected.bits.error,
        "top_features": expected.top_features, "top_contributions": expected.top_contributions,
    }  # fmt: skip
    for name, column in pairs.items():
        assert (getattr(answers, name)[:rows] == column[:rows]).all(), f"{name} differs from the one in a single large batch"


def runner(lane: Any) -> Callable[[int], None]:
    """Return what scores the first n rows of the ring and waits, for measuring costs."""

    def run(rows: int) -> None:
        lane.launch([slice(0, rows)])
        lane.wait()
        lane.collect()

    return run


def main(requests: int = REQUESTS, repeats: int = 3) -> None:
    """Print the figures of these cases."""
    import torch

    from kernels.gpu import upload
    from kernels.score_rows import gpu_cuda
    from tests.benchmarks.gpu.forest import random_forest, random_rows

    tables, source = random_forest(missing_left=0.5, features=FEATURES).tables, random_rows(requests, FEATURES)
    whole = torch.from_numpy(source).to("cuda:0")
    expected = gpu_cuda.score_rows(upload(tables, "cuda:0"), whole, None, TOP).to_host()
    gc.collect()
    gc.freeze()  # as the server does once it has started
    told = row_queue_figures(tables, source, expected, requests, repeats)
    print(table(told), file=sys.stderr)
    print(json.dumps(told, indent=1))


def table(told: dict) -> str:
    """Return the figures as the table of docs/benchmarks.md."""
    lines = [
        "| lanes | largest batch | batch, median | rows/s | writing included | busy, copies too | kernel alone | p50 / p99 ms |",
        "| --- " * 8 + "|",
    ]
    for of in (*told["all_queued"], *told["arriving"]):
        latency = f"{of['latency_ms']['p50']:.2f} / {of['latency_ms']['p99']:.2f}"
        arriving = f"; {of['per_s'] / 1e6:.1f} M/s come" if "per_s" in of else ""
        lines.append(
            f"| {of['lanes']} | {of['max_batch_size']:,}{arriving} | {of['batch_rows']['median']:,.0f} "
            f"| {of['rows_per_s'] / 1e6:.1f} M | {of['rows_per_s_with_queueing'] / 1e6:.1f} M "
            f"| {of['device_busy_share']:.1%} | {of['kernel_busy_share']:.1%} | {latency} |"
        )
        if of["refused"] or of["late"]:
            lines.append(f"  {of['refused']} refused, {of['late']} late")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
