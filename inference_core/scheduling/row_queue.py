"""Rows that wait in columns: single requests are written into a ring as they come and leave it as slices, a batch at a time.

Nothing here is done once a request: a chunk of requests is one copy into the ring, and a batch is one or two slices of it, which
a device reads where they lie. For a GPU the ring is pinned memory of the caller's (inference_core/runtime/gpu_lane.py), for
a CPU any.

    queue = RowQueue({Priority.LIVE: RowRing(np.zeros((1 << 20, 64), np.float32))})
    scheduler = Scheduler(config, costs, queue=queue)
    admitted, refusal = scheduler.admit_rows(Priority.LIVE, deadlines_us, now_us)
    first = queue.write(Priority.LIVE, x[admitted], arrived_us[admitted], deadlines_us[admitted])   # ticket of the first
    taken, late = scheduler.start(dispatch, now_us)          # the item of each is a Run
    queue.release(Priority.LIVE, run)                        # of both, once the callers have their answers

Tickets number the rows of a ring in the order of arrival, from 0; row `ticket` lies at slot `ticket % capacity`, and so do its
answers in columns of the same length. A slot is written again only after release().
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from inference_core.errors import SchedulingError
from inference_core.scheduling.config import Priority
from inference_core.scheduling.waiting_queue import Waiting, WaitingQueue

# Rows whose deadlines are looked through at a time where some are late: a long run of late ones costs few steps.
_WINDOW = 8_192
# Slots whose earliest times are kept together.
_BLOCK = 1_024


class Run(NamedTuple):
    """Rows that lie one behind the other and were taken together; it never passes the end of its ring.

    Attributes:
        first: ticket of the first row; those of the others follow.
        slot: where the first row lies.
        rows: how many.
    """

    first: int
    slot: int
    rows: int

    @property
    def slots(self) -> slice:
        """Where the rows lie in the columns of the ring, and their answers in those of the answers."""
        return slice(self.slot, self.slot + self.rows)


class _Times:
    """A column of times in no order, whose least over many slots is found by looking at few.

    Attributes:
        us: [capacity] float64.
    """

    def __init__(self, capacity: int) -> None:
        self.us = np.zeros(capacity)
        self._least = np.zeros(-(-capacity // _BLOCK))  # of each block of slots, as it was last written

    def note(self, place: slice) -> None:
        """Say that these slots, one at least, were written."""
        first, last = place.start // _BLOCK, (place.stop - 1) // _BLOCK + 1
        times = self.us[first * _BLOCK : last * _BLOCK]
        self._least[first:last] = np.minimum.reduceat(times, np.arange(0, len(times), _BLOCK))

    def least(self, begin: int, end: int) -> float:
        """Return the least of the slots from `begin` up to `end`, one at least, all of them written in one turn of the ring."""
        first, last = -(-begin // _BLOCK), end // _BLOCK  # the blocks that lie in between as a whole
        if first >= last:
            return float(self.us[begin:end].min())
        ends = (self.us[begin : first * _BLOCK], self.us[last * _BLOCK : end])
        return min(float(part.min()) for part in (self._least[first:last], *ends) if len(part))


class RowRing:
    """The rows of one class, first in, first out; of one owner, not for several threads.

    A row waits from commit() until take() or take_late(), and holds its slot until release().

    Attributes:
        x: [capacity, F] float32, the caller's memory; NaN where a value is missing.
        arrived_us, deadline_us: [capacity] float64, monotonic microseconds. Deadlines need not ascend.
        waiting: rows that wait.
    """

    def __init__(self, x: np.ndarray) -> None:
        """Raises SchedulingError unless x is writeable, C-contiguous float32 [at least 1, F]."""
        if x.dtype != np.float32 or x.ndim != 2 or not len(x) or not (x.flags.c_contiguous and x.flags.writeable):
            raise SchedulingError(
                f"the rows of a ring must be writeable, C-contiguous float32 [capacity, F]; got {x.dtype} {list(x.shape)}"
            )
        self.x = x
        self._arrived, self._deadline = _Times(len(x)), _Times(len(x))
        self.arrived_us, self.deadline_us = self._arrived.us, self._deadline.us
        self.waiting = 0
        self._written = self._taken = 0
        self._out: dict[int, int] = {}  # first ticket -> rows of the runs that hold their slots, in order

    @property
    def capacity(self) -> int:
        """How many rows may wait or be at work."""
        return len(self.x)

    @property
    def room(self) -> int:
        """How many rows may be written now."""
        return len(self.x) - self._written + self._oldest()

    def slot(self, ticket: int) -> int:
        """Return where a row lies.

        Raises:
            SchedulingError: it was never written, or its slot was released.
        """
        if not self._oldest() <= ticket < self._written:
            raise SchedulingError(f"the ring holds tickets {self._oldest()} to {self._written - 1}; {ticket} is not among them")
        return ticket % len(self.x)

    def reserve(self, rows: int) -> list[np.ndarray]:
        """Return one or two [n, F] views of the ring, together `rows` rows, for a reader of the network to write into.

        Raises:
            SchedulingError: there is no room for so many.
        """
        return [self.x[place] for place, _ in self._places(rows)]

    def commit(self, rows: int, arrived_us: np.ndarray | float, deadline_us: np.ndarray | float) -> int:
        """Queue the first `rows` rows of what reserve() gave, and return the ticket of the first.

        Args:
            arrived_us, deadline_us: [rows], or one number for all.

        Raises:
            SchedulingError: there is no room for so many, or a column has another length; nothing is queued then.
        """
        places, first = self._places(rows), self._written
        for name, values in (("arrived_us", arrived_us), ("deadline_us", deadline_us)):
            if np.ndim(values) and np.shape(values) != (rows,):
                raise SchedulingError(f"{name} must be one number or [{rows}]; got {list(np.shape(values))}")
        for place, part in places:
            self.arrived_us[place] = arrived_us[part] if np.ndim(arrived_us) else arrived_us
            self.deadline_us[place] = deadline_us[part] if np.ndim(deadline_us) else deadline_us
            self._arrived.note(place)
            self._deadline.note(place)
        self._written += rows
        self.waiting += rows
        return first

    def write(self, x: np.ndarray, arrived_us: np.ndarray | float, deadline_us: np.ndarray | float) -> int:
        """Copy rows [n, F] into the ring and queue them; see commit."""
        if x.ndim != 2 or x.shape[1] != self.x.shape[1]:
            raise SchedulingError(f"rows must be [n, {self.x.shape[1]}]; got {list(x.shape)}")
        for place, part in self._places(len(x)):
            self.x[place] = x[part]
        return self.commit(len(x), arrived_us, deadline_us)

    def head(self) -> Run | None:
        """Return the row that is next, as a run of one; None where none waits."""
        return Run(self._taken, self._taken % len(self.x), 1) if self.waiting else None

    def take(self, most: int, now_us: float) -> tuple[list[Run], list[Run]]:
        """Take up to `most` rows whose deadline has not passed, and the late ones met before them.

        Returns:
            What to run, one slice where no row is late, and two at the ring's end; and what is late. Both in order.
        """
        alive: list[Run] = []
        late: list[Run] = []
        while most > 0 and self.waiting:
            for run, is_late in self._window(most, now_us):
                (late if is_late else alive).append(run)
                self._hold(run)
                most -= 0 if is_late else run.rows
        return alive, late

    def take_late(self, until_us: float) -> list[Run]:
        """Take the rows at the head whose deadlines pass until then, in order."""
        late: list[Run] = []
        while self.waiting:
            run, is_late = next(self._window(1, until_us))
            if not is_late:
                break
            late.append(run)
            self._hold(run)
        return late

    def _hold(self, run: Run) -> None:
        self._out[run.first] = run.rows
        self._taken += run.rows
        self.waiting -= run.rows

    def release(self, run: Run) -> None:
        """Give back the slots of a run, in any order among runs: what is there, answers too, may be written over from now on.

        Raises:
            SchedulingError: take() and take_late() gave no such run, or it was released before.
        """
        if self._out.get(run.first) != run.rows:
            raise SchedulingError(f"{run} is not at work: release each run once, as take() gave it")
        del self._out[run.first]

    def oldest_us(self, run: Run) -> float:
        """Return when the first of a run's rows arrived."""
        return self._arrived.least(run.slot, run.slot + run.rows)

    def first_deadline_us(self, run: Run) -> float:
        """Return the earliest deadline of a run's rows."""
        return self._deadline.least(run.slot, run.slot + run.rows)

    def _oldest(self) -> int:
        """Return the oldest ticket that holds its slot; the next to be taken where none at work does."""
        return next(iter(self._out), self._taken)

    def _places(self, rows: int) -> list[tuple[slice, slice]]:
        """Return (where in the ring, which of the rows) for the next rows to be written."""
        if not 0 <= rows <= self.room:
            raise SchedulingError(f"the ring has room for {self.room} rows, not for {rows}; ask admit_rows() first")
        slot = self._written % len(self.x)
        before = min(rows, len(self.x) - slot)
        places = [(slice(slot, slot + before), slice(0, before)), (slice(0, rows - before), slice(before, rows))]
        return [(place, part) for place, part in places if part.stop > part.start]

    def _window(self, most: int, now_us: float) -> Iterator[tuple[Run, bool]]:
        """Yield the next runs, up to the ring's end and up to `most` rows that are not late, with whether each is late."""
        first, slot = self._taken, self._taken % len(self.x)
        reach = min(self.waiting, len(self.x) - slot)
        usual = min(most, reach)
        # No order of the deadlines is assumed: the earliest of all is looked for.
        whole = Run(first, slot, usual)
        if self.first_deadline_us(whole) > now_us:
            yield whole, False
            return
        reach = min(reach, max(most, _WINDOW))
        passed = self.deadline_us[slot : slot + reach] <= now_us
        begin = 0
        for end in (*(np.flatnonzero(passed[1:] != passed[:-1]) + 1).tolist(), reach):
            is_late = bool(passed[begin])
            rows = end - begin if is_late else min(end - begin, most)
            yield Run(first + begin, slot + begin, rows), is_late
            most -= 0 if is_late else rows
            if most <= 0:
                return
            begin = end


class RowQueue(WaitingQueue):
    """A WaitingQueue some of whose classes are rings of rows; calls of the other classes stay whole, as there.

    A ring's work is taken as Waiting whose item is a Run: `rows` is the run's, `arrived_us` that of its oldest row and
    `deadline_us` its earliest. What take() and take_late() give holds its slots until release().
    """

    __slots__ = ("_rings",)

    def __init__(self, rings: Mapping[int, RowRing]) -> None:
        """Args:
        rings: the classes whose requests are single rows.
        """
        super().__init__()
        self._rings = dict(rings)
        for priority, ring in self._rings.items():
            self._count(Priority(priority), ring.waiting)

    def ring(self, priority: int) -> RowRing:
        """Return the ring of a class.

        Raises:
            SchedulingError: it has none.
        """
        try:
            return self._rings[priority]
        except KeyError:
            raise SchedulingError(f"{Priority(priority).name} has no ring of rows; queue its calls with put()") from None

    def room(self, priority: int) -> int:
        """See WaitingQueue."""
        ring = self._rings.get(priority)
        return super().room(priority) if ring is None else ring.room

    def reserve(self, priority: int, rows: int) -> list[np.ndarray]:
        """See RowRing."""
        return self.ring(priority).reserve(rows)

    def commit(self, priority: int, rows: int, arrived_us: np.ndarray | float, deadline_us: np.ndarray | float) -> int:
        """See RowRing."""
        first = self.ring(priority).commit(rows, arrived_us, deadline_us)
        self._count(priority, rows)
        return first

    def write(self, priority: int, x: np.ndarray, arrived_us: np.ndarray | float, deadline_us: np.ndarray | float) -> int:
        """See RowRing."""
        first = self.ring(priority).write(x, arrived_us, deadline_us)
        self._count(priority, len(x))
        return first

    def release(self, priority: int, run: Run) -> None:
        """See RowRing."""
        self.ring(priority).release(run)

    def put(self, priority: int, item: Any, rows: int, arrived_us: float, deadline_us: float) -> None:
        """As WaitingQueue's, for the classes without a ring.

        Raises:
            SchedulingError: the class has one: two queues of a class would have no order between them.
        """
        if priority in self._rings:
            raise SchedulingError(f"{Priority(priority).name} is a ring of rows; write() into it")
        super().put(priority, item, rows, arrived_us, deadline_us)

    def oldest_us(self) -> float:
        """See WaitingQueue."""
        oldest = super().oldest_us()
        for ring in self._rings.values():
            if (run := ring.head()) is not None:
                oldest = min(oldest, float(ring.arrived_us[run.slot]))
        return oldest

    def head(self, priority: int) -> Waiting | None:
        """As WaitingQueue's; of a ring its next row, which stays where it is."""
        ring = self._rings.get(priority)
        if ring is None:
            return super().head(priority)
        run = ring.head()
        return None if run is None else _waiting(ring, run, priority)

    def remove(self, priority: int, item: Any) -> Waiting | None:
        """As WaitingQueue's, for the classes without a ring: a row whose caller has gone is scored, and nobody reads it."""
        return None if priority in self._rings else super().remove(priority, item)

    def _take_class(self, priority: int, room: int, now_us: float, taken: list[Waiting], late: list[Waiting]) -> int:
        ring = self._rings.get(priority)
        if ring is None:
            return super()._take_class(priority, room, now_us, taken, late)
        before = ring.waiting
        alive, passed = ring.take(room, now_us)
        taken += [_waiting(ring, run, priority) for run in alive]
        late += [_waiting(ring, run, priority) for run in passed]
        return before - ring.waiting

    def _take_late_class(self, priority: int, until_us: float) -> list[Waiting]:
        ring = self._rings.get(priority)
        if ring is None:
            return super()._take_late_class(priority, until_us)
        return [_waiting(ring, run, priority) for run in ring.take_late(until_us)]

    def _count(self, priority: int, rows: int) -> None:
        self.rows[priority] += rows
        self.total += rows


def _waiting(ring: RowRing, run: Run, priority: int) -> Waiting:
    return Waiting(run, run.rows, ring.oldest_us(run), ring.first_deadline_us(run), priority)
