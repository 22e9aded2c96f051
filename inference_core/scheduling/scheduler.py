"""The scheduler: admission, classes, deadlines, program variants and the spare unit, around a policy that picks unit and size.

It has no clock and does no input or output: every time is given by the caller, in monotonic microseconds, so that the live
batcher and the simulator run the same code. It belongs to one thread.

    refusal = scheduler.admit(Priority.LIVE, 1, deadline_us, now_us)
    if refusal is None:
        scheduler.queue.put(Priority.LIVE, item, 1, now_us, deadline_us)
    while (dispatch := scheduler.next(now_us)) is not None:
        taken, late = scheduler.start(dispatch, now_us)      # run `taken` where it is not empty
    scheduler.completed(dispatch, began_us, ended_us)        # then ask next() again
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from inference_core.errors import SchedulingError
from inference_core.runtime.cost import CostLine
from inference_core.scheduling.config import DynamicBatchConfig, Priority
from inference_core.scheduling.cost_model import CostModel
from inference_core.scheduling.expected_completion import ExpectedCompletion
from inference_core.scheduling.policy import Policy, Situation, Unit
from inference_core.scheduling.row_admission import admitted_in_order, complete_us, rows_done_by
from inference_core.scheduling.traffic import Traffic
from inference_core.scheduling.waiting_queue import CLASSES, Waiting, WaitingQueue

# What of each batch the lower classes get in any case while they wait, so that LIVE never starves them.
GUARANTEED = (0.0, 0.10, 0.02)
_FOR_LIVE = 1.0 - sum(GUARANTEED)
# The reduced program is taken when the queue would use up this share of the time left, and left again below the other.
_REDUCE_ABOVE, _RESTORE_BELOW = 0.7, 0.35
# A reduced program that shortens a queue by less than this share is not worth other answers.
_LEAST_SAVING = 0.02
# Weight of all batches before the latest in what their owner needs between two of them, and the most that is believed: as long
# again as the batches themselves.
_KEEP_TURNS, _LONGEST_TURN = 0.975, 2.0
# Bounds of Retry-After: below, a client would only come again to be refused; above, the forecast says nothing.
_LEAST_RETRY_S, _MOST_RETRY_S = 0.05, 30.0


class Refusal(NamedTuple):
    """Why work was not admitted, and after how many seconds its like may be."""

    reason: str
    retry_after_s: float


class Dispatch:
    """A batch to run.

    Attributes:
        device, variant: names as in the cost model.
        counts: the most rows of each class.
        expected_us: what it is expected to take.
        spare: whether the spare unit takes it.
        rows: what start() took.
    """

    __slots__ = (
        "counts", "device", "expected_us", "live_rows", "oldest_live_us", "rows", "spare", "unit", "variant", "variant_index",
    )  # fmt: skip

    def __init__(self, unit: Unit, variant_index: int, counts: tuple[int, int, int]) -> None:
        self.unit, self.variant_index, self.counts = unit, variant_index, counts
        self.device, self.variant, self.spare = unit.name, unit.variants[variant_index], unit.spare
        self.rows, self.live_rows = 0, 0
        self.expected_us, self.oldest_live_us = 0.0, 0.0


class Scheduler:
    """Decides what is admitted, and which rows run when, where and with which variant of the program.

    Attributes:
        queue: the work that waits; the caller puts admitted work in and start() takes it out.
        policy: what picks unit and size.
        traffic: the rates of arrival.
    """

    def __init__(
        self, config: DynamicBatchConfig, costs: CostModel, policy: Policy | None = None, spare: str | None = None,
        queue: WaitingQueue | None = None,
    ) -> None:  # fmt: skip
        """Args:
        config: limits and target.
        costs: a line for each device and variant; the variants of a device from the full program to the most reduced one.
        policy: ExpectedCompletion where none is given.
        spare: the device that is kept for bursts of LIVE work.
        queue: where work waits, a RowQueue for single rows in columns; a WaitingQueue where none is given.

        Raises:
            SchedulingError: no device is left beside the spare one, or devices differ in their variants.
        """
        self.config, self.costs, self.policy = config, costs, policy or ExpectedCompletion()
        self._all = {name: _unit(costs, name, name == spare) for name in costs.devices}
        if spare is not None and spare not in self._all:
            raise SchedulingError(f"the spare device {spare!r} has no cost line; there are {', '.join(self._all)}")
        units = [unit for unit in self._all.values() if not unit.spare]
        if not units:
            raise SchedulingError("every device is the spare one; name one more, or no spare")
        if len({unit.variants for unit in self._all.values()}) != 1:
            raise SchedulingError("all devices need the same variants in the same order")
        self.queue = WaitingQueue() if queue is None else queue
        self.traffic = Traffic()
        self._spare = self._all[spare] if spare else None
        self._units = units
        self._variants = units[0].variants
        self._situation = Situation(config, units, self.traffic)
        self._credit = [0.0] * CLASSES
        self._paces: list[tuple[float, float]] = []
        self._free_us, self._batch_rows = 0.0, 1
        self._ended_us = math.inf
        self._waited_us = self._between_us = self._running_us = 0.0
        self._turn = 1.0  # from the end of a batch to that of the next, where work waits, in times of the batch alone
        self._first_us: float | None = None
        self._now_us = 0.0
        self.wake_us = 0.0
        self.admitted, self.refused, self.late = [0] * CLASSES, [0] * CLASSES, [0] * CLASSES
        self.reduced_batches = self.spare_batches = self.failed_batches = self.batches = 0
        self._repace()

    # --- arrival -----------------------------------------------------------------------------------------------------

    def admit(self, priority: int, rows: int, deadline_us: float, now_us: float) -> Refusal | None:
        """Say whether work can be complete by its deadline behind what waits already; None admits it.

        Where the full program cannot, but the reduced one can, it is admitted: next() turns to the reduced one in time.
        Where a unit is idle, what goes into its next batch is admitted whatever the costs say: only a batch that runs can
        teach that they have fallen, and who is refused a place in it makes it no shorter.
        """
        if self._free_us <= 0.0 and self.queue.total + rows <= self._batch_rows and now_us < deadline_us:
            self._count_admitted(priority, rows)
            return None
        through = self._ahead(priority) + rows
        end = complete_us(*self._forecast(self._paces[0], priority, now_us), through)
        if end > deadline_us:
            end = complete_us(*self._forecast(self._paces[-1], priority, now_us), through)
            if end > deadline_us:
                return self._refuse(priority, rows, end - deadline_us, deadline_us <= now_us)
        self._count_admitted(priority, rows)
        return None

    def admit_rows(self, priority: int, deadlines_us: np.ndarray, now_us: float) -> tuple[np.ndarray, Refusal | None]:
        """As admit() for n requests of one row each, as if each were queued before the next is asked for.

        Args:
            deadlines_us: [n] float64, in the order of arrival.

        Returns:
            [n] bool, which are admitted: all of these, and no others, are to be queued now, in one go. And what the last of
            the others is told. Beside what admit() refuses, none is admitted for which the queue has no room.
        """
        rows, ahead, room = len(deadlines_us), self._ahead(priority), self.queue.room(priority)
        full = self._forecast(self._paces[0], priority, now_us)
        # The usual case: the last of them would be in time for the earliest deadline.
        if rows and rows <= room and complete_us(*full, ahead + rows) <= deadlines_us.min():
            self._count_admitted(priority, rows)
            return np.ones(rows, bool), None
        in_time = self._rows_in_time(priority, deadlines_us, now_us, ahead)
        admitted = admitted_in_order(np.minimum(in_time, room))
        count = int(np.count_nonzero(admitted))
        self._count_admitted(priority, count)
        if count == rows:
            return admitted, None
        last = rows - 1 - int(admitted[::-1].argmin())
        before = int(np.count_nonzero(admitted[:last]))
        if before < in_time[last]:  # there is no room
            self.refused[priority] += rows - count
            return admitted, Refusal("the queue is full", _LEAST_RETRY_S)
        end = complete_us(*self._forecast(self._paces[-1], priority, now_us), ahead + before + 1)
        deadline = float(deadlines_us[last])
        return admitted, self._refuse(priority, rows - count, end - deadline, deadline <= now_us)

    def _rows_in_time(self, priority: int, deadlines_us: np.ndarray, now_us: float, ahead: int) -> np.ndarray:
        """Return [n] int64: behind how many others of these each row would be late; those ahead wait already. See admit()."""
        rows = len(deadlines_us)
        in_time = np.zeros(rows, np.int64)
        for paces in {self._paces[0], self._paces[-1]}:
            done = rows_done_by(deadlines_us, *self._forecast(paces, priority, now_us), ahead + rows)
            np.maximum(in_time, done - ahead, out=in_time)
        # One batch is admitted whatever the costs say.
        if self._free_us <= 0.0 and (places := self._batch_rows - self.queue.total) > 0:
            np.maximum(in_time, places, out=in_time, where=now_us < deadlines_us)
        return in_time

    def _count_admitted(self, priority: int, rows: int) -> None:
        self.admitted[priority] += rows
        self.traffic.arrived[priority] += rows

    def _ahead(self, priority: int) -> int:
        """Return how many of the waiting rows go before one of this class that arrives now."""
        return sum(self.queue.rows[: priority + 1])

    def _forecast(self, paces: tuple[float, ...], priority: int, now_us: float) -> tuple[float, float]:
        """Return when the first row is begun and what each costs, for complete_us(); the paces are those of a variant."""
        return self._start_us(now_us) + paces[0], paces[1 + priority] * self._turn

    def _start_us(self, now_us: float) -> float:
        """Return when the next batch is expected to begin."""
        free = self._free_us
        if free > now_us:
            return free
        # What is overdue by some time is expected to need as long again.
        return 2.0 * now_us - free if free > 0.0 else now_us

    def _refuse(self, priority: int, rows: int, over_us: float, passed: bool) -> Refusal:
        self.refused[priority] += rows
        if passed:
            return Refusal("its deadline has passed already", _LEAST_RETRY_S)
        retry_s = min(max(over_us / 1e6, _LEAST_RETRY_S), _MOST_RETRY_S)
        return Refusal("it could not be complete by its deadline behind what waits already", retry_s)

    # --- batches -----------------------------------------------------------------------------------------------------

    def next(self, now_us: float) -> Dispatch | None:
        """Return a batch to start now, or None; then ask again at the next event, or at `wake_us` where that is set."""
        self.wake_us = 0.0
        self.traffic.look(now_us)
        queue = self.queue
        waiting = queue.total
        if not waiting:
            return None
        idle = False
        for unit in self._units:
            if unit.idle and unit.healthy:
                idle = True
                break
        situation = self._situation
        if idle:
            situation.now_us, situation.waiting, situation.live = now_us, waiting, queue.rows[0]
            situation.oldest_us, situation.wake_us = queue.oldest_us(), 0.0
            if len(self._variants) > 1:
                situation.variant = self._variant(now_us)
            choice = self.policy.choose(situation)
            if choice is not None:
                unit, most, low = choice
                return Dispatch(unit, situation.variant, self._compose(most, low))
            self.wake_us = situation.wake_us
        if self._spare is not None and queue.rows[0] and self._spare.idle and self._spare.healthy:
            return self._burst(now_us, situation)
        return None

    def start(self, dispatch: Dispatch, now_us: float) -> tuple[list[Waiting], list[Waiting]]:
        """Take the rows of a dispatch from the queue.

        Returns:
            What to run, and what is late and not to be run. The unit is busy only where there is something to run.
        """
        taken, late = self.queue.take(dispatch.counts, now_us + self._lead_us(dispatch))
        for waiting in late:
            self.late[waiting.priority] += waiting.rows
        if not taken:
            return taken, late
        rows = live = 0
        oldest = now_us
        for waiting in taken:
            rows += waiting.rows
            if not waiting.priority:
                live += waiting.rows
                if waiting.arrived_us < oldest:
                    oldest = waiting.arrived_us
        self._waited_us = now_us - self._ended_us if self._ended_us <= now_us else -1.0
        low = live < rows
        unit = dispatch.unit
        line = unit.lines[dispatch.variant_index]
        dispatch.rows, dispatch.live_rows, dispatch.oldest_live_us = rows, live, oldest
        dispatch.expected_us = line.fixed_us + line.row_us * rows
        unit.idle, unit.rows, unit.busy_until_us, unit.low = False, rows, now_us + dispatch.expected_us, low
        if low:
            self._situation.low_running += 1
        self._set_free()
        return taken, late

    def take_late(self, now_us: float) -> list[Waiting]:
        """Take out of the queue what would be late by the end of its batch, as the one before it takes longer than expected."""
        late: list[Waiting] = []
        if not 0.0 < self._free_us < math.inf:
            return late
        ends_us = self._start_us(now_us) + min(unit.lines[-1].fixed_us for unit in self._units)
        for priority in range(CLASSES):
            for waiting in self.queue.take_late(priority, ends_us):
                late.append(waiting)
                self.late[priority] += waiting.rows
        return late

    def _lead_us(self, dispatch: Dispatch) -> float:
        """Return how long before its deadline work is too late to begin with: the time of its batch, where one follows another.

        Where a unit was idle it is begun in any case: only a batch that runs can teach that costs have fallen.
        """
        if self._ended_us == math.inf:
            return 0.0
        line = dispatch.unit.lines[dispatch.variant_index]
        return line.fixed_us + line.row_us * min(sum(dispatch.counts), self.queue.total)

    def completed(self, dispatch: Dispatch, began_us: float, ended_us: float, ok: bool = True) -> None:
        """Learn from a batch that has ended; one that failed teaches nothing about costs."""
        unit, took = dispatch.unit, ended_us - began_us
        unit.idle, unit.rows = True, 0
        if unit.low:
            unit.low = False
            self._situation.low_running -= 1
        unit.busy_us += took
        self.batches += 1
        if dispatch.variant_index:
            self.reduced_batches += 1
        if dispatch.spare:
            self.spare_batches += 1
        if self._first_us is None:
            self._first_us = began_us
        self._now_us = ended_us
        # Where work waits for the only unit, what passes until it begins is time that its owner needs: it reads, and refuses.
        self._ended_us = ended_us if self.queue.total and len(self._all) == 1 else math.inf
        if not ok:
            self.failed_batches += 1
        elif dispatch.rows and took > 0:
            if self._waited_us >= 0.0:
                self._between_us = _KEEP_TURNS * self._between_us + self._waited_us
                self._running_us = _KEEP_TURNS * self._running_us + took
                self._turn = min(1.0 + self._between_us / self._running_us, _LONGEST_TURN)
            unit.lines[dispatch.variant_index].observe(dispatch.rows, took)
            self._repace()
            situation = self._situation
            situation.now_us = ended_us
            self.policy.completed(situation, unit, dispatch.rows, took, dispatch.live_rows, ended_us - dispatch.oldest_live_us)
        self._set_free()

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units, the spare one last."""
        return (*self._units, *([self._spare] if self._spare else ()))

    # --- what the owner tells ----------------------------------------------------------------------------------------

    def set_healthy(self, device: str, healthy: bool) -> None:
        """Take a device out of use, or back in."""
        self._unit(device).healthy = healthy
        self._repace()

    def replace_costs(self, device: str, variant: str, line: CostLine) -> None:
        """Start a cost line anew, as after another program was swapped in."""
        unit = self._unit(device)
        self.costs.replace(device, variant, line)
        unit.lines[unit.variants.index(variant)] = self.costs.line(device, variant)
        self._repace()

    def figures(self) -> dict[str, Any]:
        """Return what metrics show: costs, rates, counts and the policy in use."""
        elapsed = self._now_us - self._first_us if self._first_us is not None else 0.0
        units = {
            unit.name: {
                "busy_share": unit.busy_us / elapsed if elapsed > 0 else 0.0,
                "healthy": unit.healthy,
                "spare": unit.spare,
                "variants": {
                    name: {"fixed_us": of.fixed_us, "row_us": of.row_us, "tail": of.tail, "batches": of.batches}
                    for name, of in zip(unit.variants, unit.lines, strict=True)
                },
            }
            for unit in self._all.values()
        }
        by_class = {
            of.name.lower(): {
                "admitted": self.admitted[of], "refused": self.refused[of], "late": self.late[of], "waiting": self.queue.rows[of],
            }
            for of in Priority
        }  # fmt: skip
        of_policy: Mapping[str, Any] = getattr(self.policy, "figures", dict)()
        return {
            "policy": self.policy.name,
            "policy_figures": dict(of_policy),
            "units": units,
            "classes": by_class,
            "arrivals_per_s": self.traffic.rate * 1e6,
            "rate_changes": self.traffic.changes,
            "batches": self.batches,
            "reduced_batches": self.reduced_batches,
            "spare_batches": self.spare_batches,
            "failed_batches": self.failed_batches,
        }

    # --- inside ------------------------------------------------------------------------------------------------------

    def _unit(self, device: str) -> Unit:
        try:
            return self._all[device]
        except KeyError:
            raise SchedulingError(f"there is no device {device!r}; there are {', '.join(self._all)}") from None

    def _compose(self, most: int, low: int) -> tuple[int, int, int]:
        """Share a batch of `most` rows among the classes: LIVE first, the others what is left up to `low` rows, but never less
        than guaranteed."""
        live, bulk, background = self.queue.rows
        if not bulk and not background:
            return most, 0, 0
        bulk_rows = self._guaranteed(1, most) if bulk else 0
        background_rows = self._guaranteed(2, most) if background else 0
        live_rows = min(live, max(0, most - bulk_rows - background_rows))
        room = min(most - live_rows, low) - bulk_rows - background_rows
        if room > 0:
            more = min(room, bulk - bulk_rows)
            bulk_rows += more
            background_rows += min(room - more, background - background_rows)
        return live_rows, bulk_rows, background_rows

    def _guaranteed(self, priority: int, most: int) -> int:
        """Deficit round robin (Shreedhar and Varghese 1995): credit grows with each batch until it pays for the next item."""
        head = self.queue.head(priority)
        if head is None:
            return 0
        credit = self._credit[priority] + GUARANTEED[priority] * most
        if credit < head.rows:
            self._credit[priority] = credit
            return 0
        self._credit[priority] = min(credit - head.rows, float(most))
        return head.rows

    def _variant(self, now_us: float) -> int:
        """Return the variant: the reduced one while the full one would use up most of the time that the head has left."""
        if self._paces[-1][1] > (1.0 - _LEAST_SAVING) * self._paces[0][1]:
            return 0
        queue = self.queue
        for priority in range(CLASSES):
            head = queue.head(priority)
            if head is not None:
                break
        else:
            return 0
        left = head.deadline_us - now_us
        fixed, row = self._paces[0][0], self._paces[0][1 + priority]
        needed = fixed + row * queue.rows[priority]
        reduced = self._situation.variant > 0
        return len(self._variants) - 1 if needed > left * (_RESTORE_BELOW if reduced else _REDUCE_ABOVE) else 0

    def _burst(self, now_us: float, situation: Situation) -> Dispatch | None:
        """Return a batch of LIVE rows for the spare unit where they would wait too long for the others."""
        live = self.queue.rows[0]
        wait = max(0.0, self._free_us - now_us) + live * self._paces[situation.variant][1]
        if wait <= self.config.burst_wait_us:
            return None
        spare = self._spare
        most = spare.lines[situation.variant].rows_within(self.config.target_us / 2, self.config.max_batch_size)
        return Dispatch(spare, situation.variant, (most, 0, 0))

    def _set_free(self) -> None:
        free = math.inf
        for unit in self._units:
            if unit.healthy:
                until = 0.0 if unit.idle else unit.busy_until_us
                if until < free:
                    free = until
        self._free_us = free

    def _repace(self) -> None:
        """Work out, for each variant, what a class's queue costs a row: (own batch's p99 fixed, LIVE, BULK, BACKGROUND)."""
        paces = []
        target, most = self.config.target_us, self.config.max_batch_size
        self._batch_rows = 1
        for variant in range(len(self._variants)):
            rate, fixed = 0.0, math.inf
            for unit in self._units:
                if not unit.healthy:
                    continue
                line = unit.lines[variant]
                rows = line.rows_worth(target, most)
                self._batch_rows = max(self._batch_rows, rows)
                rate += rows / (line.fixed_us + line.row_us * rows)
                if line.fixed_p99_us < fixed:
                    fixed = line.fixed_p99_us
            if rate <= 0.0:
                paces.append((math.inf, math.inf, math.inf, math.inf))
                continue
            low = rate * (1.0 - self.config.live_share) - self.traffic.live_rate
            bulk = max(low, rate * GUARANTEED[1])
            background = max(low, rate * GUARANTEED[2])
            paces.append((fixed, 1.0 / (rate * _FOR_LIVE), 1.0 / bulk, 1.0 / background))
        self._paces = paces
        self._set_free()


def _unit(costs: CostModel, name: str, spare: bool) -> Unit:
    variants = costs.variants(name)
    return Unit(name, variants, [costs.line(name, variant) for variant in variants], spare)
