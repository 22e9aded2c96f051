"""Counters of one engine process: written to the database once a second, and shown to Prometheus."""

from __future__ import annotations

import os
import socket
import time
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from scoring.errors import InvalidInput
from scoring.models import EngineSample, Outcome

# Eight bounds a decade from 0.1 ms to 10 s: neighbours are a factor 1.33 apart. A bucket holds what is above the
# bound before it and not above its own; one more bucket after the last takes the overflow.
LATENCY_BOUNDS_MS: tuple[float, ...] = tuple(round(10 ** (-1 + i / 8), 4) for i in range(41))


class EngineCounters:
    """Plain numbers since the process started. Increments come from two threads; each number has one writer."""

    def __init__(self) -> None:
        self.process = f"{socket.gethostname()[:28]}:{os.getpid()}"
        self.decisions = self.replays = self.refused = self.errors = self.degraded = self.batches = self.in_flight = 0
        self.outcomes = [0] * len(Outcome)
        self.latency_counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        self.latency_sum_ms = 0.0
        self.queue_depth = 0
        self._sampled = self._totals()

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

    def count_decisions(self, outcomes: np.ndarray, degraded: int) -> None:
        """Count committed decisions by outcome code."""
        self.decisions += len(outcomes)
        self.degraded += degraded
        for code, count in enumerate(np.bincount(outcomes, minlength=len(self.outcomes)).tolist()):
            self.outcomes[code] += count

    def observe_latency(self, seconds: float, requests: int = 1) -> None:
        """Record how long a request took from its arrival to its answer."""
        milliseconds = seconds * 1000
        self.latency_counts[bisect_left(LATENCY_BOUNDS_MS, milliseconds)] += requests
        self.latency_sum_ms += milliseconds * requests

    def _totals(self) -> dict:
        return {
            "decisions": self.decisions, "replays": self.replays, "refused": self.refused, "errors": self.errors,
            "degraded": self.degraded, "batches": self.batches, "outcomes": list(self.outcomes),
            "latency_counts": list(self.latency_counts), "cpu_seconds": time.process_time(),
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
