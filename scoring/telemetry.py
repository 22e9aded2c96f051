"""Counters of one engine process: written to the database once a second, and shown to Prometheus."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from scoring.decisions.stamps import WORDS
from scoring.errors import InvalidInput
from scoring.histograms import AGE_BOUNDS, BATCH_BOUNDS, COMMIT, LATENCY_BOUNDS_MS, Histogram, StageTimes
from scoring.models import EngineSample, Outcome

# Why work is turned away that was in order: it came too fast, too much of it, too late, or something it needs is ill.
SHED_REASONS = ("rate_limit", "overloaded", "deadline", "concurrency", "breaker", "storage")
WINDOW_SECONDS = 10.0
# As many outcomes are counted one by one in the time that NumPy takes for any number.
_FEW = 32
_NO_LATENCIES = (0,) * (len(LATENCY_BOUNDS_MS) + 1)


class EngineCounters:
    """Plain numbers since the process started. Increments come from two threads; each number has one writer.

    Attributes:
        stages: times of what runs on the processor around the program; `program_stages` those of the program.
        in_flight: requests that are being answered.
        queue_depth: decisions that wait.
        scheduling: gives the figures of the scheduler that forms the batches; nothing where none does.
    """

    def __init__(self) -> None:
        self.process = f"{socket.gethostname()[:28]}:{os.getpid()}"
        self.decisions = self.replays = self.refused = self.errors = self.degraded = self.batches = self.in_flight = 0
        self.outcomes = [0] * len(Outcome)
        self.stamps = [0] * len(WORDS)
        self.shed = dict.fromkeys(SHED_REASONS, 0)
        self.queue_depth = 0
        self.scheduling: Callable[[], dict[str, Any]] = dict
        self.stages = StageTimes("cpu", "host")
        self.batch_rows, self.queue_age = Histogram(BATCH_BOUNDS), Histogram(AGE_BOUNDS)
        self._programs: dict[tuple[str, str], StageTimes] = {}
        self._requests: dict[tuple[str, int], Histogram] = {}
        self._sampled = self._totals()
        self._window: deque[tuple[float, list[int], dict[str, float]]] = deque(maxlen=int(WINDOW_SECONDS) + 1)
        self.tick(time.monotonic())

    # --- counting --------------------------------------------------------------------------------------------------

    def program_stages(self, device: str, variant: str) -> StageTimes:
        """Return the times of the program's variant on a device; to be kept by who runs it."""
        found = self._programs.get((device, variant))
        if found is None:
            found = self._programs[device, variant] = StageTimes(device, variant)
        return found

    def count_batch(self, results: Sequence[object]) -> None:
        """Count one engine batch by what its requests got; bodies that were refused are the doors' to count."""
        faulty = replays = errors = 0
        for result in results:
            if isinstance(result, InvalidInput):
                faulty += 1
            elif isinstance(result, Exception):
                errors += 1
            elif result.replayed:
                replays += 1
        self.batches += faulty < len(results)
        self.replays += replays
        self.errors += errors

    def count_decisions(self, outcomes: np.ndarray, degraded: int, stamps: np.ndarray | None = None) -> None:
        """Count committed decisions by outcome code and, where given, by the bits of their stamps."""
        self.decisions += len(outcomes)
        self.degraded += degraded
        if len(outcomes) < _FEW:
            for code in outcomes.tolist():
                self.outcomes[code] += 1
        else:
            for code, count in enumerate(np.bincount(outcomes, minlength=len(self.outcomes)).tolist()):
                self.outcomes[code] += count
        if stamps is not None and stamps.any():
            for bit in range(len(WORDS)):
                self.stamps[bit] += int(np.count_nonzero(stamps & (1 << bit)))

    def count_shed(self, reason: str, count: int = 1) -> None:
        """Count transactions that were turned away for one of SHED_REASONS; they count as refused, too."""
        self.shed[reason] += count
        self.refused += count

    def observe_latency(self, seconds: float, requests: int = 1, door: str = "fast", status: int = 200) -> None:
        """Record how long a request took from its arrival at a door to its answer, and what it was answered with."""
        key = door, status // 100
        found = self._requests.get(key)
        if found is None:
            found = self._requests[key] = Histogram(LATENCY_BOUNDS_MS)
        found.observe(seconds * 1000, requests)

    # --- reading ---------------------------------------------------------------------------------------------------

    @property
    def latency_counts(self) -> list[int]:
        """The latency histogram of all requests, whatever they were answered with."""
        histograms = list(self._requests.values())
        return [sum(counts) for counts in zip(_NO_LATENCIES, *(h.counts for h in histograms), strict=True)]

    def state(self) -> dict[str, Any]:
        """Return every number that only grows, as plain data that adds up over processes."""
        stages = [self.stages, *list(self._programs.values())]
        return {
            "decisions": self.decisions, "replays": self.replays, "refused": self.refused, "errors": self.errors,
            "degraded": self.degraded, "batches": self.batches, "outcomes": list(self.outcomes),
            "stamps": list(self.stamps), "shed": dict(self.shed),
            "requests": {f"{door} {kind}xx": h.state() for (door, kind), h in list(self._requests.items())},
            "batch_rows": self.batch_rows.state(), "queue_age": self.queue_age.state(),
            "stages": {f"{times.device} {times.variant}": times.state() for times in stages},
        }  # fmt: skip

    def tick(self, now: float) -> None:
        """Mark a second of the window that the gauges below look back on; called about once a second."""
        if not self._window or now - self._window[-1][0] >= 0.9:
            self._window.append((now, self.latency_counts, self.busy_seconds()))

    def recent_latency(self) -> list[int]:
        """Return the latency histogram of the last WINDOW_SECONDS."""
        before = self._window[0][1]
        return [now - then for now, then in zip(self.latency_counts, before, strict=True)]

    def busy_seconds(self) -> dict[str, float]:
        """Return how long each device has been at work; waiting for a commit is not work."""
        found: dict[str, float] = {}
        for times in [self.stages, *list(self._programs.values())]:
            found[times.device] = found.get(times.device, 0.0) + sum(times.seconds) - times.seconds[COMMIT]
        return found

    def busy_share(self, now: float) -> dict[str, float]:
        """Return the share of the last WINDOW_SECONDS that each device was at work."""
        since, _, before = self._window[0]
        elapsed = now - since
        if elapsed <= 0:
            return {}
        return {device: (seconds - before.get(device, 0.0)) / elapsed for device, seconds in self.busy_seconds().items()}

    # --- samples ---------------------------------------------------------------------------------------------------

    def _totals(self) -> dict:
        return {
            "decisions": self.decisions, "replays": self.replays, "refused": self.refused, "errors": self.errors,
            "degraded": self.degraded, "batches": self.batches, "outcomes": list(self.outcomes),
            "latency_counts": self.latency_counts, "cpu_seconds": time.process_time(),
        }  # fmt: skip

    def write_sample(self, seconds: float) -> None:
        """Store what happened since the last sample, `seconds` ago; an idle second leaves no row."""
        now, before = self._totals(), self._sampled
        self._sampled = now
        delta = {
            name: now[name] - before[name]
            for name in ("decisions", "replays", "refused", "errors", "degraded", "batches", "cpu_seconds")
        }
        if not any(delta[name] for name in ("decisions", "replays", "refused", "errors")):
            return
        outcomes = {o.label: n - b for o, n, b in zip(Outcome, now["outcomes"], before["outcomes"], strict=True) if n > b}
        latency = [n - b for n, b in zip(now["latency_counts"], before["latency_counts"], strict=True)]
        EngineSample.objects.create(
            at=datetime.now(UTC),
            process=self.process,
            seconds=seconds,
            outcomes=outcomes,
            latency_counts=latency,
            queue_depth=self.queue_depth,
            **delta,
        )


__all__ = ["LATENCY_BOUNDS_MS", "SHED_REASONS", "EngineCounters"]
