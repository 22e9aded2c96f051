"""Event-driven simulation of units that serve batches, around the very scheduler that serves live."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inference_core.scheduling import Priority, Scheduler
from tests.benchmarks.scheduler.world import Arrival


@dataclass
class Run:
    """What came of one run.

    Attributes:
        live_us, bulk_us: latencies of what was answered within its deadline or not, but answered.
        missed: rows refused, dropped or answered after their deadline.
        offered: rows that arrived.
        device_us: time of the units, the spare one included.
        batches: how many there were.
        takeover_us: for each batch of the spare unit that found it resting: from the arrival of its oldest row to its start.
    """

    live_us: list[float] = field(default_factory=list)
    bulk_us: list[float] = field(default_factory=list)
    missed: int = 0
    refused: int = 0
    offered: int = 0
    device_us: float = 0.0
    batches: int = 0
    takeover_us: list[float] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, float]:
        """Means and percentiles of this run, in microseconds."""
        live = sorted(self.live_us)
        rows = max(1, self.offered)
        return {
            "mean_us": sum(live) / max(1, len(live)),
            "p50_us": percentile(live, 0.5),
            "p99_us": percentile(live, 0.99),
            "p999_us": percentile(live, 0.999),
            "bulk_p99_us": percentile(sorted(self.bulk_us), 0.99),
            "miss_rate": self.missed / rows,
            "device_us_per_row": self.device_us / rows,
            "rows_per_batch": rows / max(1, self.batches),
        }


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all do not exceed; NaN of nothing."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)] if ascending else math.nan


def simulate(
    scheduler: Scheduler, requests: Sequence[Arrival], took: Callable[[str, str, int, float], float], think_us: float = 0.0
) -> Run:
    """Serve the requests and return what came of it.

    Args:
        requests: in time order.
        took: what a batch truly takes; see World.timer.
        think_us: what a decision costs before its batch starts.
    """
    run = Run()
    queue, admit, put, choose = scheduler.queue, scheduler.admit, scheduler.queue.put, scheduler.next
    deadlines = [scheduler.config.deadline_us(of) for of in Priority]
    running: list[tuple[float, int, float, object, list]] = []
    at, count, number = 0, len(requests), 0
    now, wake = 0.0, math.inf
    units = scheduler.units
    spare = next((unit for unit in units if unit.spare), None)
    while True:
        ends = running[0][0] if running else math.inf
        comes = requests[at][0] if at < count else math.inf
        now = min(ends, comes, wake)
        if now == math.inf:
            break
        if ends <= now:
            _, _, began, dispatch, taken = heapq.heappop(running)
            scheduler.completed(dispatch, began, now)
            _note(run, taken, now)
            run.device_us += now - began
        elif comes <= now:
            # While every unit is busy nothing can start: all that arrive until one is free are taken in at once.
            until = now
            if not _any_idle(units):
                until = min(ends, wake)
            while at < count and requests[at][0] <= until:
                when, priority, rows = requests[at]
                at += 1
                run.offered += rows
                deadline = when + deadlines[priority]
                if admit(priority, rows, deadline, when) is None:
                    put(priority, None, rows, when, deadline)
                else:
                    run.refused += rows
                    run.missed += rows
                now = when
        if wake <= now:
            wake = math.inf
        while queue.total and (dispatch := choose(now)) is not None:
            begin = now + think_us
            resting = spare is not None and dispatch.spare
            taken, late = scheduler.start(dispatch, begin)
            for waiting in late:
                run.missed += waiting.rows
            if not taken:
                continue
            if resting:
                run.takeover_us.append(begin - taken[0].arrived_us)
            run.batches += 1
            number += 1
            ends = begin + took(dispatch.device, dispatch.variant, dispatch.rows, begin)
            heapq.heappush(running, (ends, number, begin, dispatch, taken))
        wake = scheduler.wake_us if scheduler.wake_us > now else math.inf
    return run


def _any_idle(units: Sequence) -> bool:
    return any(unit.idle for unit in units)


def _note(run: Run, taken: list, now: float) -> None:
    for waiting in taken:
        us = now - waiting.arrived_us
        if waiting.priority == 0:
            run.live_us.append(us)
        else:
            run.bulk_us.append(us)
        if now > waiting.deadline_us:
            run.missed += waiting.rows
