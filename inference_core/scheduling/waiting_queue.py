"""Work that waits: one first-in-first-out queue a class, and what a scheduler asks about them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from inference_core.scheduling.config import Priority

CLASSES = len(Priority)
UNBOUNDED = 1 << 62


class Waiting(NamedTuple):
    """One piece of work that is not divided: a single request, or one call of the batch endpoint.

    Attributes:
        item: the caller's own.
        rows: how many rows it is.
        arrived_us, deadline_us: monotonic microseconds.
        priority: its class.
    """

    item: Any
    rows: int
    arrived_us: float
    deadline_us: float
    priority: int


class WaitingQueue:
    """Queues of one owner; not for several threads.

    Attributes:
        rows: waiting rows by class.
        total: waiting rows.
    """

    __slots__ = ("_queues", "rows", "total")

    def __init__(self) -> None:
        self._queues: tuple[deque[Waiting], ...] = tuple(deque() for _ in range(CLASSES))
        self.rows = [0] * CLASSES
        self.total = 0

    def put(self, priority: int, item: Any, rows: int, arrived_us: float, deadline_us: float) -> None:
        """Queue one item at the end of its class."""
        self._queues[priority].append(Waiting(item, rows, arrived_us, deadline_us, priority))
        self.rows[priority] += rows
        self.total += rows

    def room(self, priority: int) -> int:
        """Return how many more rows of a class may wait."""
        return UNBOUNDED

    def oldest_us(self) -> float:
        """Return when the oldest of all waiting items arrived; infinity where none waits."""
        oldest = float("inf")
        for queue in self._queues:
            if queue and queue[0].arrived_us < oldest:
                oldest = queue[0].arrived_us
        return oldest

    def head(self, priority: int) -> Waiting | None:
        """Return the item of a class that is next."""
        queue = self._queues[priority]
        return queue[0] if queue else None

    def take(self, counts: Sequence[int], now_us: float) -> tuple[list[Waiting], list[Waiting]]:
        """Take whole items for a batch, up to `counts` rows of each class, but one item at least.

        Returns:
            What to run, LIVE first; and what was met on the way whose deadline has passed: it is out of the queue, not to be run.
        """
        taken: list[Waiting] = []
        late: list[Waiting] = []
        for priority, room in enumerate(counts):
            if room > 0:
                out = self._take_class(priority, room, now_us, taken, late)
                self.rows[priority] -= out
                self.total -= out
        return taken, late

    def _take_class(self, priority: int, room: int, now_us: float, taken: list[Waiting], late: list[Waiting]) -> int:
        """Take from one class onto the ends of the lists; return how many rows left the queue."""
        queue = self._queues[priority]
        out = 0
        while queue:
            waiting = queue[0]
            if waiting.deadline_us <= now_us:
                late.append(queue.popleft())
                out += waiting.rows
                continue
            if waiting.rows > room and taken:
                break
            taken.append(queue.popleft())
            out += waiting.rows
            room -= waiting.rows
            if room <= 0:
                break
        return out

    def take_late(self, priority: int, until_us: float) -> list[Waiting]:
        """Take those at the head of a class whose deadlines pass until then; they are not to be run."""
        late = self._take_late_class(priority, until_us)
        out = sum(waiting.rows for waiting in late)
        self.rows[priority] -= out
        self.total -= out
        return late

    def _take_late_class(self, priority: int, until_us: float) -> list[Waiting]:
        queue, late = self._queues[priority], []
        while queue and queue[0].deadline_us <= until_us:
            late.append(queue.popleft())
        return late

    def remove(self, priority: int, item: Any) -> Waiting | None:
        """Take an item out because its caller has gone; None where it is not waiting (any more). Linear in the queue."""
        queue = self._queues[priority]
        for waiting in queue:
            if waiting.item is item:
                queue.remove(waiting)
                self.rows[priority] -= waiting.rows
                self.total -= waiting.rows
                return waiting
        return None
