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
* The last events: of those that lie before an event in the order (event time, arrival), the i-th back, 0 the nearest: last_amount
  its amount, last_gap the seconds since it, last_same 1 where it and the event have the same counterpart, 0 where they have not,
  NaN where either names none. All are NaN where there is no such event, or it is longer ago than the longest look back; a nearer
  one of any age counts.
* A risk window of length r ends `delay` before the event: [t - delay - r, t - delay). It counts the events in it and
  those known as fraud *now*; rate = fraud / count, NaN over no events. The end is exclusive in plain event time.
* An entity that the event does not name (-1) gives NaN everywhere; one never met (-2) is answered as empty and is not
  remembered.
* An entity forgets what lies more than `retention` behind its newest event. A late event is answered from what is
  retained; one that is itself behind that horizon is not kept, which `late` reports as LEFT_OUT.
* Everything is exact for events up to retention - reach_us behind the newest event that was inserted before, of whatever entity;
  `late` reports the others as BEHIND.
* Sums are exact (64-bit, squares 128-bit), so streaming equals recomputation to float32 rounding.
* Counterparts are kept for the kinds with a DISTINCT or LAST_SAME column alone.
* `export` tells the retained events of all entities as they are when it is called, while the store goes on changing; a store
  that imports them answers as the first would have. `forget_idle` frees entities: as if they had never been met.

Cost: amortised O(1) per window and event in time order; a late event costs O(events that overtook it + events that
its windows reach further back than the present ones); taking an event out again costs O(its entities' events). A batch that
is absorbed without answers costs at most O(n log n + events of the entities that it is late for).
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, Self

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import address, library, typed_libraries

ABSENT = -1
UNKNOWN = -2
MAX_WINDOWS = 6
MAX_LAST_EVENTS = 8
LEFT_OUT, BEHIND = 1, 2


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
    LAST_AMOUNT = 11
    LAST_GAP = 12
    LAST_SAME = 13

    @property
    def is_risk(self) -> bool:
        """Whether it is reported over risk windows."""
        return Aggregation.RISK_COUNT <= self <= Aggregation.RISK_RATE

    @property
    def is_last(self) -> bool:
        """Whether it tells of one past event, which takes the place of a window."""
        return self >= Aggregation.LAST_AMOUNT


@dataclass(frozen=True)
class WindowLayout:
    """What a store keeps and reports.

    Attributes:
        kinds: number of kinds of entity, K.
        window_us, risk_us: window lengths, microseconds, ascending, at most six each.
        delay_us: how far before the event every risk window ends.
        retention_us: how long an entity remembers; at least the longest window and delay + longest risk window.
        deviation_floor: added to the standard deviation in a z-score, minor units.
        columns: (kind, aggregation, index of the window or of the past event) a column, grouped by kind in ascending order.
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
        of = Aggregation(aggregation)
        windows = MAX_LAST_EVENTS if of.is_last else len(self.risk_us if of.is_risk else self.window_us)
        # since_last belongs to no window, and its number is not looked at.
        if of != Aggregation.SINCE_LAST and not 0 <= window < windows:
            raise KernelInputError(f"{of.name} has the {'events' if of.is_last else 'windows'} 0 to {windows - 1}; got {window}")

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
        entities, others: [n, K] int32, row of the entity and of the counterpart, or ABSENT for none, or UNKNOWN for one
            that was never met and is not to be remembered.
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
        if not self._is_right(len(self.time_us), kinds):
            self._refuse(len(self.time_us), kinds)

    def _is_right(self, n: int, kinds: int) -> bool:
        """Return the answer without naming the fault, in a third of the time."""
        row, rows = (n,), (n, kinds)
        return (
            self.time_us.dtype == self.amount_minor.dtype == np.int64
            and self.key.dtype == np.uint64
            and self.entities.dtype == self.others.dtype == np.int32
            and self.insert.dtype == np.uint8
            and self.time_us.shape == self.amount_minor.shape == self.key.shape == self.insert.shape == row
            and self.entities.shape == self.others.shape == rows
            and self.time_us.flags.c_contiguous
            and self.amount_minor.flags.c_contiguous
            and self.key.flags.c_contiguous
            and self.entities.flags.c_contiguous
            and self.others.flags.c_contiguous
            and self.insert.flags.c_contiguous
        )

    def _refuse(self, n: int, kinds: int) -> None:
        for name, dtype, shape in (
            ("time_us", np.int64, (n,)), ("amount_minor", np.int64, (n,)), ("key", np.uint64, (n,)),
            ("entities", np.int32, (n, kinds)), ("others", np.int32, (n, kinds)), ("insert", np.uint8, (n,)),
        ):  # fmt: skip
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
                raise KernelInputError(
                    f"{name} must be C-contiguous {np.dtype(dtype).name} {shape}; got {array.dtype} {array.shape}"
                )


@dataclass(frozen=True)
class EventLogs:
    """The retained events of consecutive entities of one kind, each entity's by (time, arrival).

    Attributes:
        kind, first_row: whose they are.
        lengths: [rows] uint32, events of each entity; they lie end to end in the others.
        time_us, amount_minor: [E] int64.
        key: [E] uint32, the low 31 bits of the event's key; the top bit says: known as fraud.
        other: [E] int32.
    """

    kind: int
    first_row: int
    lengths: np.ndarray
    time_us: np.ndarray
    amount_minor: np.ndarray
    key: np.ndarray
    other: np.ndarray

    def check(self, kinds: int) -> None:
        """Raise KernelInputError unless the arrays fit together."""
        events = int(self.lengths.sum(dtype=np.int64))
        shapes = ((np.int64, self.time_us), (np.int64, self.amount_minor), (np.uint32, self.key), (np.int32, self.other))
        if self.lengths.dtype != np.uint32 or any(array.dtype != dtype or array.shape != (events,) for dtype, array in shapes):
            raise KernelInputError(f"the arrays of {events} events must be int64, int64, uint32 and int32 of that length")
        if not 0 <= self.kind < kinds or not 0 <= self.first_row < 2**31 - len(self.lengths):
            raise KernelInputError(f"there is no kind {self.kind} with a row {self.first_row}")


class LogExport(Protocol):
    """An iterator over a store as it was when the export began; close it when done. Another thread than the writer may use it."""

    def __iter__(self) -> Self: ...

    def __next__(self) -> EventLogs: ...

    def close(self) -> None: ...


class WindowStore(Protocol):
    """Windows of all entities, held in memory; one writer at a time."""

    newest_us: int | None
    """Time of the newest event that was inserted; None before the first. May be set back where events are taken out again."""

    def process(self, batch: EventBatch, out: np.ndarray) -> np.ndarray:
        """Fill out[:, :columns] (float32, C-contiguous rows) and absorb; return late [n] uint8, LEFT_OUT and BEHIND added up."""

    def absorb(self, batch: EventBatch) -> None:
        """Leave the store as `process` does, without the answers; late events of a large batch cost less so."""

    def contains(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> np.ndarray:
        """Return bool [n]: which events are still remembered for at least one of their entities."""

    def label(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray) -> int:
        """Say whether events are fraud (uint8 1) or not (0); return how many were still retained."""

    def remove(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> None:
        """Take events out as if they had never come."""

    def export(self) -> LogExport:
        """Begin to tell all events as they are now; the events that come meanwhile are not among them.

        Raises:
            KernelInputError: another export is under way.
        """

    def import_logs(self, logs: EventLogs) -> None:
        """Put the events of entities that have none.

        Raises:
            KernelInputError: the arrays do not fit together, are not in the order of time, or an entity has events already.
        """

    def forget_idle(self, before_us: int, entities: int) -> int:
        """Look at so many entities, going on where the last call stopped; free those whose newest event is older than
        `before_us`. Return how many events that freed."""

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


_P, _N = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES = {
    "velocity_create": (
        [ctypes.c_int, ctypes.c_int, _P, ctypes.c_int, _P, _N, _N, ctypes.c_double, _N, _P, _P, _P], _P,
    ),
    "velocity_destroy": ([_P], None),
    "velocity_bytes": ([_P], _N),
    "velocity_events": ([_P], _N),
    "velocity_newest": ([_P], _N),
    "velocity_set_newest": ([_P, _N], None),
    "velocity_process": ([_P, _N, _P, _P, _P, _P, _P, _P, _N, _P, _P], ctypes.c_int),
    "velocity_absorb": ([_P, _N, _P, _P, _P, _P, _P, _P], ctypes.c_int),
    "velocity_label": ([_P, _N, _P, _P, _P, _P], _N),
    "velocity_contains": ([_P, _N, _P, _P, _P, _P], None),
    "velocity_remove": ([_P, _N, _P, _P, _P], None),
    "velocity_export_start": ([_P], ctypes.c_int),
    "velocity_export_next": ([_P, _N, _N, _P, _P, _P, _P, _P, _P], ctypes.c_int),
    "velocity_export_end": ([_P], None),
    "velocity_import": ([_P, ctypes.c_int, _N, _N, _P, _P, _P, _P, _P], ctypes.c_int),
    "velocity_forget_idle": ([_P, _N, _N], _N),
}  # fmt: skip
_NO_TIME = -(2**63)
# A batch of more events takes long enough to let other threads run meanwhile.
_BRIEF = 32
_NO_MEMORY = "no memory for the feature windows; fewer days of retention or more memory are needed"


@functools.cache
def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """Return the library for calls that keep the interpreter lock, and for those that give it away."""
    return typed_libraries(_SIGNATURES)


class NativeWindowStore:
    """The store of cpu.c."""

    def __init__(self, layout: WindowLayout) -> None:
        self.layout = layout
        self._brief, self._native = _libraries()
        windows, risks = np.array(layout.window_us, np.int64), np.array(layout.risk_us, np.int64)
        columns = np.array(layout.columns, np.int32).reshape(-1, 3).T.copy()
        self._columns = columns.shape[1]
        self._store = self._native.velocity_create(
            layout.kinds, len(windows), windows.ctypes.data, len(risks), risks.ctypes.data, layout.delay_us, layout.retention_us,
            layout.deviation_floor, self._columns, *(column.ctypes.data for column in columns),
        )  # fmt: skip
        if not self._store:
            raise MemoryError("no memory for the window store")

    def __del__(self) -> None:
        if getattr(self, "_store", None):
            self._native.velocity_destroy(self._store)

    def process(self, batch: EventBatch, out: np.ndarray) -> np.ndarray:
        batch.check(self.layout.kinds)
        check_output(out, len(batch), self._columns)
        n = len(batch)
        late = np.empty(n, np.uint8)
        native = self._native if n > _BRIEF else self._brief
        failed = native.velocity_process(
            self._store, n, address(batch.time_us), address(batch.amount_minor), address(batch.key), address(batch.entities),
            address(batch.others), address(batch.insert), out.strides[0] // 4, _first_of(out), address(late),
        )  # fmt: skip
        if failed:
            raise MemoryError(_NO_MEMORY)
        return late

    def absorb(self, batch: EventBatch) -> None:
        batch.check(self.layout.kinds)
        n = len(batch)
        native = self._native if n > _BRIEF else self._brief
        failed = native.velocity_absorb(
            self._store, n, address(batch.time_us), address(batch.amount_minor), address(batch.key), address(batch.entities),
            address(batch.others), address(batch.insert),
        )  # fmt: skip
        if failed:
            raise MemoryError(_NO_MEMORY)

    @property
    def newest_us(self) -> int | None:
        newest = self._brief.velocity_newest(self._store)
        return None if newest == _NO_TIME else newest

    @newest_us.setter
    def newest_us(self, newest: int | None) -> None:
        self._brief.velocity_set_newest(self._store, _NO_TIME if newest is None else newest)

    def label(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray) -> int:
        check_events(self.layout.kinds, time_us, key, entities, fraud)
        arrays = [*_as_contiguous(time_us, key, entities), np.ascontiguousarray(fraud, np.uint8)]
        return self._native.velocity_label(self._store, len(time_us), *map(address, arrays))

    def contains(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> np.ndarray:
        check_events(self.layout.kinds, time_us, key, entities)
        arrays, contained = _as_contiguous(time_us, key, entities), np.zeros(len(time_us), np.uint8)
        self._native.velocity_contains(self._store, len(time_us), *map(address, arrays), address(contained))
        return contained > 0

    def remove(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> None:
        check_events(self.layout.kinds, time_us, key, entities)
        arrays = _as_contiguous(time_us, key, entities)
        self._native.velocity_remove(self._store, len(time_us), *map(address, arrays))

    def export(self) -> NativeExport:
        return NativeExport(self)

    def import_logs(self, logs: EventLogs) -> None:
        logs.check(self.layout.kinds)
        arrays = [np.ascontiguousarray(a) for a in (logs.lengths, logs.time_us, logs.amount_minor, logs.key, logs.other)]
        status = self._native.velocity_import(
            self._store, logs.kind, logs.first_row, len(logs.lengths), *(array.ctypes.data for array in arrays)
        )
        if status == _IMPORT_NO_MEMORY:
            raise MemoryError(_NO_MEMORY)
        if status:
            raise KernelInputError(_IMPORT_FAULTS[status])

    def forget_idle(self, before_us: int, entities: int) -> int:
        return self._native.velocity_forget_idle(self._store, before_us, entities)

    def memory_bytes(self) -> int:
        return self._native.velocity_bytes(self._store)

    def event_count(self) -> int:
        return self._native.velocity_events(self._store)


_IMPORT_NO_MEMORY, _IMPORT_NOT_EMPTY, _IMPORT_NOT_SORTED = 1, 2, 3
_IMPORT_FAULTS = {
    _IMPORT_NOT_EMPTY: "an entity that is to be imported has events already",
    _IMPORT_NOT_SORTED: "the events of an entity are not in the order of time",
}
_EXPORT_END, _EXPORT_CHUNK, _EXPORT_NEEDS_ROOM = 0, 1, 2
# Copied in one go, while whoever decides waits: a fraction of a millisecond.
_EXPORT_ROWS, _EXPORT_EVENTS = 1024, 8192


class NativeExport:
    """Copies a store a few entities at a time; see LogExport."""

    def __init__(self, store: NativeWindowStore) -> None:
        self._store, self._native, self._room, self._open = store, store._native, _EXPORT_EVENTS, False
        if self._native.velocity_export_start(store._store):
            raise KernelInputError("an export of this store is under way already; close it first")
        self._open = True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventLogs:
        if not self._open:
            raise StopIteration
        lengths, about = np.empty(_EXPORT_ROWS, np.uint32), np.empty(4, np.int64)
        while True:
            room = self._room
            arrays = [np.empty(room, dtype) for dtype in (np.int64, np.int64, np.uint32, np.int32)]
            status = self._native.velocity_export_next(
                self._store._store, _EXPORT_ROWS, room, address(about), address(lengths), *map(address, arrays)
            )
            kind, first_row, rows, events = about.tolist()
            if status == _EXPORT_CHUNK:
                self._room = _EXPORT_EVENTS
                return EventLogs(kind, first_row, lengths[:rows], *(array[:events] for array in arrays))
            if status != _EXPORT_NEEDS_ROOM:
                self.close()
                if status == _EXPORT_END:
                    raise StopIteration
                raise MemoryError("no memory to set changing entities aside while the feature windows are copied")
            self._room = events

    def close(self) -> None:
        if self._open:
            self._open = False
            self._native.velocity_export_end(self._store._store)

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()


def _first_of(out: np.ndarray) -> int:
    """Return the address of the first element; of its row where the rows are not contiguous, which is quicker to find."""
    return address(out[0]) if len(out) else 0


def _as_contiguous(time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> list[np.ndarray]:
    return [
        np.ascontiguousarray(time_us, np.int64), np.ascontiguousarray(key, np.uint64), np.ascontiguousarray(entities, np.int32),
    ]  # fmt: skip
