"""Streams of a GPU that score batches side by side: a captured graph a bucket, timed by events inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from inference_core.runtime.cuda_graphs import capture_graph
from kernels.gpu import DeviceTables, allocate
from kernels.score_rows import ScoredRows, gpu_cuda


@dataclass(frozen=True)
class _Bucket:
    """A graph with its result in pinned memory, and the events at its begin and end."""

    graph: torch.cuda.CUDAGraph
    result: ScoredRows
    begin: torch.cuda.Event
    end: torch.cuda.Event
    kept: tuple


class GpuLane:
    """A stream with pinned rows, rows on the device and results of its own; see queued.Lane.

    Buckets are powers of two: behind the rows of a batch, rows of an earlier one are scored with it and cut off.

    Args:
        source: [B, F] float32, the rows of all requests, in the host's memory.
        answers: [B] float32, where margins go.
        most: rows of the largest batch.
        direct: the same rows in pinned memory, where the device takes each request's rows from; None where the host gathers them.
    """

    _origin: torch.cuda.Event | None = None  # of the times of all lanes

    def __init__(self, tables: DeviceTables, source: np.ndarray, answers: np.ndarray, most: int, top: int,
                 direct: torch.Tensor | None = None) -> None:  # fmt: skip
        self._tables, self._source, self._answers, self._top = tables, source, answers, top
        self._direct, self._begin = direct, torch.cuda.Event(enable_timing=True)
        self._stream = torch.cuda.Stream(tables.device)
        self._host = torch.zeros((most, source.shape[1]), dtype=torch.float32, pin_memory=True)
        self._rows, self._x = self._host.numpy(), torch.zeros(self._host.shape, device=tables.device)
        if GpuLane._origin is None:
            GpuLane._origin = torch.cuda.Event(enable_timing=True)
            GpuLane._origin.record()
        self._done = torch.cuda.Event()
        self._buckets = [self._capture(1 << i) for i in range((most - 1).bit_length() + 1)]
        self._running: tuple[_Bucket, Sequence[int], int] | None = None

    def _capture(self, rows: int) -> _Bucket:
        rows = min(rows, len(self._rows))
        out = allocate(self._tables, rows, self._top, scratch=False)
        answer = torch.zeros(out.layout.bytes, dtype=torch.uint8, pin_memory=True)
        begin, end = (torch.cuda.Event(enable_timing=True, external=True) for _ in range(2))
        x, host = self._x[:rows], self._host[:rows]

        def work() -> None:
            if self._direct is None:
                x.copy_(host, non_blocking=True)
            gpu_cuda.score_rows(self._tables, x, None, self._top, "auto", out)
            answer.copy_(out.buffer, non_blocking=True)

        graph = capture_graph(self._stream, work, (begin, end))
        return _Bucket(graph, ScoredRows(out.layout, answer.numpy()), begin, end, (out, answer))

    def launch(self, first: Sequence[int], rows: int) -> None:
        """See Lane."""
        count = len(first) * rows
        if self._direct is not None:
            pass
        elif rows == 1:
            np.take(self._source, first, axis=0, out=self._rows[:count], mode="clip")
        else:
            for i, start in enumerate(first):
                self._rows[i * rows : (i + 1) * rows] = self._source[start : start + rows]
        bucket = self._buckets[(count - 1).bit_length()]
        with torch.cuda.stream(self._stream):
            if self._direct is not None:
                self._begin.record(self._stream)
                for i, start in enumerate(first):
                    self._x[i * rows : (i + 1) * rows].copy_(self._direct[start : start + rows], non_blocking=True)
            bucket.graph.replay()
            self._done.record(self._stream)
        self._running = bucket, first, rows

    def is_done(self) -> bool:
        """See Lane."""
        return self._done.query()

    def collect(self) -> tuple[float, float]:
        """See Lane."""
        bucket, first, rows = self._running
        margin = bucket.result.margin[: len(first) * rows]
        if rows == 1:
            self._answers[first] = margin
        else:
            for i, start in enumerate(first):
                self._answers[start : start + rows] = margin[i * rows : (i + 1) * rows]
        begin = bucket.begin if self._direct is None else self._begin
        return GpuLane._origin.elapsed_time(begin) * 1e3, GpuLane._origin.elapsed_time(bucket.end) * 1e3

    def run(self, rows: int) -> None:
        """Score the first rows of the source and wait, as one request."""
        self.launch([0], rows)
        self._stream.synchronize()
        self.collect()
