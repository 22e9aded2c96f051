"""Streams of a GPU that score rows where they lie in a ring of pinned memory, and leave the answers in a ring beside them.

    on_device = OnDevice(tables, device)
    x = pinned_rows(on_device, 1 << 20)                       # the memory of a scheduling.RowRing
    answers = AnswerRing(on_device, len(x), top=4)
    lanes = [RowLane(on_device, x, answers, most_rows=65_536) for _ in range(2)]
    lane.launch([run.slots for run in taken])                 # returns at once; one batch a lane at a time
    if lane.is_done(): began_us, ended_us = lane.collect()    # answers.margin[run.slots] are there

The host copies nothing: the device takes a batch's slices from the ring itself, and several lanes let it copy one batch while
it scores another. Needs torch, and CUDA or ROCm; a program's lists of members do not travel with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from inference_core.runtime.cuda_graphs import capture_graph
from inference_core.runtime.gpu import OnDevice
from kernels.errors import KernelInputError
from kernels.gpu import Outputs, allocate

if TYPE_CHECKING:
    import torch


class Event(Protocol):
    """A moment in a stream: torch.cuda.Event."""

    def record(self) -> None:
        """Mark this place in the stream in use."""
        ...

    def query(self) -> bool:
        """Whether the device has passed it."""
        ...

    def elapsed_time(self, later: Event) -> float:
        """Return the milliseconds from this event to a later one; both have passed."""
        ...


class Stream(Protocol):
    """What a lane needs of a stream; tests put a plain one in its place."""

    def active(self) -> AbstractContextManager:
        """Make it the stream in use."""
        ...

    def event(self, captured: bool = False) -> Event:
        """Return an event with a time; `captured` for capture()."""
        ...

    def capture(self, work: Callable[[], None], begin: Event, end: Event) -> Callable[[], None]:
        """Return what starts the same work again on the stream in use, between these captured events, and does not wait."""
        ...

    def wait(self) -> None:
        """Wait until the stream has done everything."""
        ...


class CudaStream:
    """A stream of CUDA or ROCm, with graphs."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._torch, self._stream = torch, torch.cuda.Stream(device)

    def active(self) -> AbstractContextManager:
        """See Stream."""
        return self._torch.cuda.stream(self._stream)

    def event(self, captured: bool = False) -> Event:
        """See Stream."""
        return self._torch.cuda.Event(enable_timing=True, external=captured)

    def capture(self, work: Callable[[], None], begin: Event, end: Event) -> Callable[[], None]:
        """See Stream."""
        return capture_graph(self._stream, work, (begin, end)).replay

    def wait(self) -> None:
        """See Stream."""
        self._stream.synchronize()


def pinned_rows(on_device: OnDevice, capacity: int) -> np.ndarray:
    """Return [capacity, F] float32 of memory that the device reads directly; it lives as long as the array."""
    import torch

    return on_device.backend.pinned(capacity, on_device.host.cuts.features, torch.float32).numpy()


class AnswerRing:
    """The answers to a ring's rows, in pinned memory: row `slot` of each column, from a lane's collect() until release().

    Attributes:
        margin: [capacity] float32; NaN without trees.
        hit, insufficient, error: [capacity, W] uint64, the rules' words as in RuleBits.
        top_features, top_contributions: [capacity, top] int32 and float32, as top_values gives them.
        top: contributions a row.
    """

    def __init__(self, on_device: OnDevice, capacity: int, top: int) -> None:
        import torch

        tables, self.top, pinned = on_device.host, top, on_device.backend.pinned
        words, bits = tables.rules.words, dict(zip(("hit", "insufficient", "error"), tables.rules.outputs, strict=True))
        columns = {name: pinned(capacity, words, torch.int64) for name in bits}
        columns["margin"] = pinned(capacity, 1, torch.float32).view(-1)
        columns["top_features"] = pinned(capacity, top, torch.int32)
        columns["top_contributions"] = pinned(capacity, top, torch.float32)
        # What no rule ever says stays zero, and is not copied.
        self.copied = {name: of for name, of in columns.items() if of.numel() and bits.get(name, True)}
        self.margin = columns["margin"].numpy()
        self.hit, self.insufficient, self.error = (columns[name].numpy().view(np.uint64) for name in bits)
        self.top_features, self.top_contributions = columns["top_features"].numpy(), columns["top_contributions"].numpy()


@dataclass(frozen=True, eq=False)
class _Bucket:
    """A graph of the kernel for so many rows, its outputs on the device, and the events around it."""

    replay: Callable[[], None]
    out: Outputs
    begin: Event
    end: Event


class RowLane:
    """One stream with room on the device for a batch, which runs one batch at a time.

    Graphs are for powers of two rows: behind those of a batch, rows of an earlier one are scored with it and not copied back.
    """

    def __init__(
        self, on_device: OnDevice, x: np.ndarray, answers: AnswerRing, most_rows: int, stream: Stream | None = None,
        origin: Event | None = None,
    ) -> None:  # fmt: skip
        """Args:
        on_device: the program.
        x: [capacity, F] float32, a ring's rows as pinned_rows gives them.
        answers: where the answers go, slot by slot.
        most_rows: rows of the largest batch.
        stream: a CudaStream of its own where none is given.
        origin: from when collect() counts; lanes whose times are compared share one. The making of the lane where none is given.

        Raises:
            KernelInputError: the program reads lists of members, or x has another width than its rows.
        """
        import torch

        cuts, tables = on_device.host.cuts, on_device.tables
        if cuts.lists:
            raise KernelInputError(f"rows of a ring carry no lists of members, and this program reads {cuts.lists}")
        if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != cuts.features:
            raise KernelInputError(f"x must be float32 [capacity, {cuts.features}]; got {x.dtype} {list(x.shape)}")
        self._rows, self._answers = torch.from_numpy(x), answers
        self._tables, self._kernel = tables, on_device.kernel(answers.top)
        self._stream = stream or CudaStream(tables.device)
        self._x = torch.zeros((most_rows, cuts.features), dtype=torch.float32, device=tables.device)
        self._buckets = [self._bucket(min(1 << i, most_rows)) for i in range((most_rows - 1).bit_length() + 1)]
        self._begin, self._end = self._stream.event(), self._stream.event()
        self._origin = self.mark(self._stream) if origin is None else origin
        self._running = self._buckets[0]

    @staticmethod
    def mark(stream: Stream) -> Event:
        """Return an event that is now."""
        with stream.active():
            event = stream.event()
            event.record()
        return event

    def _bucket(self, rows: int) -> _Bucket:
        tables, top = self._tables, self._answers.top
        x, out = self._x[:rows], allocate(tables, rows, top)
        begin, end = self._stream.event(captured=True), self._stream.event(captured=True)

        def work() -> None:
            self._kernel(tables, x, None, top, "auto", out)

        return _Bucket(self._stream.capture(work, begin, end), out, begin, end)

    def launch(self, places: Sequence[slice]) -> None:
        """Start on a batch, which is these slices of the ring one after the other; does not wait.

        The lane must be idle: what it does is no longer known where it is not.

        Raises:
            KernelInputError: the slices hold no row, or more than `most_rows`.
        """
        rows = sum(place.stop - place.start for place in places)
        if not 0 < rows <= len(self._x):
            raise KernelInputError(f"a batch of this lane is from 1 to {len(self._x)} rows; got {rows}")
        self._running = bucket = self._buckets[(rows - 1).bit_length()]
        with self._stream.active():
            self._begin.record()
            for place, part in _parts(places):
                self._x[part].copy_(self._rows[place], non_blocking=True)
            bucket.replay()
            for name, column in self._answers.copied.items():
                found = getattr(bucket.out, name)
                for place, part in _parts(places):
                    column[place].copy_(found[part], non_blocking=True)
            self._end.record()

    def is_done(self) -> bool:
        """Whether the answers to the batch are there."""
        return self._end.query()

    def wait(self) -> None:
        """Wait until they are."""
        self._stream.wait()

    def collect(self) -> tuple[float, float]:
        """Return from when to when the device was at work on the batch that is done, copies included, in microseconds."""
        return self._since(self._begin), self._since(self._end)

    def kernel_span(self) -> tuple[float, float]:
        """As collect(), of the kernel alone."""
        return self._since(self._running.begin), self._since(self._running.end)

    def _since(self, event: Event) -> float:
        return self._origin.elapsed_time(event) * 1e3


def _parts(places: Sequence[slice]) -> list[tuple[slice, slice]]:
    """Return (place in the ring, place in the batch) of each slice."""
    parts, at = [], 0
    for place in places:
        rows = place.stop - place.start
        parts.append((place, slice(at, at + rows)))
        at += rows
    return parts
