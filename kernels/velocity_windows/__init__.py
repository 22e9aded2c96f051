"""Sliding-window aggregates of events, per entity, exact and in arrival order.

The contract (windows, ties, lateness, missing values)
------------------------------------------------------
* An event has an event time (whole microseconds), an amount (whole minor units) and, for each *kind* of entity, an
  entity and a counterpart. Events are processed in order of arrival; an event never sees itself.
* A window of length w answers over the events of the entity that arrived before and lie at [t - w, t] in event time:
  start-inclusive; end-exclusive in the order (event time, arrival), so that an earlier arrival with the very same
  time counts, and nothing later does.
* count, sum, maximum, distinct counterparts; mean = sum / count; ratio = amount / mean;
  zscore = (amount - mean) / (population standard deviation + deviation_floor). Over no events: count, sum and distinct
  are 0, the others NaN. ratio is NaN where the mean is 0. since_last: seconds since the event before, NaN where that is
  longer ago than the longest look back (reach_us).
* A risk window of length r ends `delay` before the event: [t - delay - r, t - delay). It counts the events in it and
  those known as fraud *now*; rate = fraud / count, NaN over no events. The end is exclusive in plain event time.
* An entity that the event does not name (-1) gives NaN everywhere; one never met (-2) is answered as empty and is not
  remembered.
* An entity forgets what lies more than `retention` behind its newest event. A late event is answered from what is
  retained; one that is itself behind that horizon is not kept, and is reported in `too_late`.
* Sums are exact (64-bit, squares 128-bit), so streaming equals recomputation to float32 rounding.

Cost: amortised O(1) per window and event in time order; a late event costs O(events that overtook it + events that
its windows reach further back than the present ones); taking an event out again costs O(its entities' events).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import library, pointer

ABSENT = -1
UNKNOWN = -2
MAX_WINDOWS = 6


class Aggregation(IntEnum):
    """What a column reports; the numbers are those of cpu.c."""

    COUNT = 0
    SUM = 1
    MEAN = 2
    MAXIMUM = 3
    DISTINCT = 4
    RATIO = 5
    ZSCORE = 6
    SINCE_LAST = 7
    RISK_COUNT = 8
    RISK_FRAUD = 9
    RISK_RATE = 10


@dataclass(frozen=True)
class WindowLayout:
    """What a store keeps and reports.

    Attributes:
        kinds: number of kinds of entity, K.
        window_us, risk_us: window lengths, microseconds, ascending, at most six each.
        delay_us: how far before the event every risk window ends.
        retention_us: how long an entity remembers; at least the longest window and delay + longest risk window.
        deviation_floor: added to the standard deviation in a z-score, minor units.
        columns: (kind, aggregation, index of the window) a column, grouped by kind in ascending order.
    """

    kinds: int
    window_us: tuple[int, ...]
    risk_us: tuple[int, ...]
    delay_us: int
    retention_us: int
    deviation_floor: float
    columns: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if len(self.window_us) > MAX_WINDOWS or len(self.risk_us) > MAX_WINDOWS:
            raise KernelInputError(f"at most {MAX_WINDOWS} windows and {MAX_WINDOWS} risk windows")
        if list(self.window_us) != sorted(self.window_us) or list(self.risk_us) != sorted(self.risk_us):
            raise KernelInputError("window lengths must ascend")
        if self.retention_us < self.reach_us:
            raise KernelInputError(
                f"retention_us must be at least {self.reach_us}, the longest look back; got {self.retention_us}"
            )
        kinds = [kind for kind, _, _ in self.columns]
        if kinds != sorted(kinds) or any(not 0 <= k < self.kinds for k in kinds):
            raise KernelInputError("columns must be grouped by kind, ascending, and name kinds below `kinds`")
        for _, aggregation, window in self.columns:
            self._check_column(aggregation, window)

    def _check_column(self, aggregation: int, window: int) -> None:
        if aggregation not in set(Aggregation):
            raise KernelInputError(f"there is no aggregation {aggregation}")
        windows = len(self.risk_us if aggregation >= Aggregation.RISK_COUNT else self.window_us)
        # since_last belongs to no window, and its number is not looked at.
        if aggregation != Aggregation.SINCE_LAST and not 0 <= window < windows:
            raise KernelInputError(f"{Aggregation(aggregation).name} has the windows 0 to {windows - 1}; got {window}")

    @property
    def reach_us(self) -> int:
        """How far back the oldest window starts."""
        return max([*self.window_us, *(self.delay_us + r for r in self.risk_us)], default=0)


@dataclass(frozen=True)
class EventBatch:
    """n events in arrival order.

    Attributes:
        time_us: [n] int64 event time.
        amount_minor: [n] int64.
        key: [n] uint64, names the event again for `label` and `remove`; its low 31 bits and the time must identify it.
        entities, others: [n, K] int32, row of the entity (ABSENT, UNKNOWN or >= 0) and of the counterpart (ABSENT: none).
        insert: [n] uint8, 0 answers without absorbing.
    """

    time_us: np.ndarray
    amount_minor: np.ndarray
    key: np.ndarray
    entities: np.ndarray
    others: np.ndarray
    insert: np.ndarray

    def __len__(self) -> int:
        return len(self.time_us)

    def check(self, kinds: int) -> None:
        """Raise KernelInputError unless shapes and dtypes are those above."""
        n = len(self.time_us)
        for name, dtype, shape in (
            ("time_us", np.int64, (n,)), ("amount_minor", np.int64, (n,)), ("key", np.uint64, (n,)),
            ("entities", np.int32, (n, kinds)), ("others", np.int32, (n, kinds)), ("insert", np.uint8, (n,)),
        ):  # fmt: skip
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
                raise KernelInputError(
                    f"{name} must be C-contiguous {np.dtype(dtype).name} {shape}; got {array.dtype} {array.shape}"
                )


class WindowStore(Protocol):
    """Windows of all entities, held in memory; not safe for use by two threads at once."""

    def process(self, batch: EventBatch, out: np.ndarray) -> np.ndarray:
        """Fill out[:, :columns] (float32, C-contiguous rows) and absorb; return too_late [n] uint8 (kinds that were left out)."""

    def absorb(self, batch: EventBatch) -> None:
        """Do what `process` does, without the answers."""

    def contains(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> np.ndarray:
        """Return bool [n]: which events are still remembered for at least one of their entities."""

    def label(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray) -> int:
        """Say whether events are fraud (uint8 1) or not (0); return how many were still retained."""

    def remove(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> None:
        """Take events out as if they had never come."""

    def memory_bytes(self) -> int: ...

    def event_count(self) -> int:
        """Retained events, summed over the kinds of entity."""


def check_output(out: np.ndarray, rows: int, columns: int) -> None:
    """Raise KernelInputError unless `out` can take the answers of a batch."""
    if (
        out.dtype != np.float32
        or out.ndim != 2
        or out.shape[0] != rows
        or out.shape[1] < columns
        or (out.size and out.strides[1] != 4)
    ):
        raise KernelInputError(f"out must be float32 [{rows}, >= {columns}], rows contiguous; got {out.dtype} {out.shape}")


def check_events(kinds: int, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray | None = None) -> None:
    """Raise KernelInputError unless the arrays name the same n events: [n], [n], [n, K] and, with labels, [n]."""
    n = len(time_us)
    shapes = [np.shape(time_us), np.shape(key), np.shape(entities), (n,) if fraud is None else np.shape(fraud)]
    if shapes != [(n,), (n,), (n, kinds), (n,)]:
        raise KernelInputError(f"expected time_us [n], key [n], entities [n, {kinds}] and fraud [n]; got {shapes}")


def open_window_store(layout: WindowLayout) -> WindowStore:
    """Return an empty store: compiled where possible, else the reference."""
    if library() is None:
        from kernels.velocity_windows.reference import ReferenceWindowStore

        return ReferenceWindowStore(layout)
    return NativeWindowStore(layout)


class NativeWindowStore:
    """The store of cpu.c; the interpreter lock is released while it works."""

    def __init__(self, layout: WindowLayout) -> None:
        self.layout = layout
        native = library()
        if native is None:
            raise KernelInputError("no compiled kernels are installed")
        self._native = native
        native.velocity_create.restype = ctypes.c_void_p
        native.velocity_bytes.restype = native.velocity_events.restype = native.velocity_label.restype = ctypes.c_int64
        windows, risks = np.array(layout.window_us, np.int64), np.array(layout.risk_us, np.int64)
        self._store = ctypes.c_void_p(
            native.velocity_create(
                layout.kinds, len(windows), pointer(windows), len(risks), pointer(risks),
                ctypes.c_int64(layout.delay_us), ctypes.c_int64(layout.retention_us), ctypes.c_double(layout.deviation_floor),
            )
        )  # fmt: skip
        if not self._store.value:
            raise MemoryError("no memory for the window store")
        columns = np.array(layout.columns, np.int32).reshape(-1, 3).T.copy()
        self._columns = columns
        self._column_pointers = [pointer(column) for column in columns]

    def __del__(self) -> None:
        if getattr(self, "_store", None):
            self._native.velocity_destroy(self._store)

    def process(self, batch: EventBatch, out: np.ndarray) -> np.ndarray:
        batch.check(self.layout.kinds)
        check_output(out, len(batch), self._columns.shape[1])
        return self._process(batch, self._columns.shape[1], out)

    def absorb(self, batch: EventBatch) -> None:
        batch.check(self.layout.kinds)
        self._process(batch, 0, np.empty((len(batch), 1), np.float32))

    def _process(self, batch: EventBatch, columns: int, out: np.ndarray) -> np.ndarray:
        n = len(batch)
        too_late = np.zeros(n, np.uint8)
        failed = self._native.velocity_process(
            self._store, ctypes.c_int64(n), pointer(batch.time_us), pointer(batch.amount_minor), pointer(batch.key),
            pointer(batch.entities), pointer(batch.others), pointer(batch.insert), ctypes.c_int64(columns),
            *self._column_pointers, ctypes.c_int64(out.strides[0] // 4), pointer(out), pointer(too_late),
        )  # fmt: skip
        if failed:
            raise MemoryError("no memory for the feature windows; fewer days of retention or more memory are needed")
        return too_late

    def label(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray) -> int:
        check_events(self.layout.kinds, time_us, key, entities, fraud)
        arrays = _as_contiguous(time_us, key, entities)
        fraud = np.ascontiguousarray(fraud, np.uint8)
        return self._native.velocity_label(self._store, ctypes.c_int64(len(time_us)), *map(pointer, arrays), pointer(fraud))

    def contains(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> np.ndarray:
        check_events(self.layout.kinds, time_us, key, entities)
        arrays, contained = _as_contiguous(time_us, key, entities), np.zeros(len(time_us), np.uint8)
        self._native.velocity_contains(self._store, ctypes.c_int64(len(time_us)), *map(pointer, arrays), pointer(contained))
        return contained > 0

    def remove(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> None:
        check_events(self.layout.kinds, time_us, key, entities)
        arrays = _as_contiguous(time_us, key, entities)
        self._native.velocity_remove(self._store, ctypes.c_int64(len(time_us)), *map(pointer, arrays))

    def memory_bytes(self) -> int:
        return self._native.velocity_bytes(self._store)

    def event_count(self) -> int:
        return self._native.velocity_events(self._store)


def _as_contiguous(time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> list[np.ndarray]:
    return [
        np.ascontiguousarray(time_us, np.int64), np.ascontiguousarray(key, np.uint64), np.ascontiguousarray(entities, np.int32),
    ]  # fmt: skip
