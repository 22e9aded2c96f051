"""The safe policy: each batch goes where it is expected to be complete first, by the costs fitted so far."""

from __future__ import annotations

from dataclasses import dataclass

from inference_core.errors import SchedulingError
from inference_core.scheduling.policy import Situation, Unit


@dataclass(frozen=True)
class Tuning:
    """What may differ between safe policies.

    Attributes:
        spill: how far work goes to a slower idle unit while the best one is busy. 1: as much as it completes by the time that the
            best one would have completed all. 0: as much as it completes by the time that the best one is free. Below zero: none.
        batch_share: share of the time target that one batch may take; smaller batches keep others from waiting behind them.
        divide: 1: a queue is divided so that every unit, the busy ones included, would complete its share at the same time
            (each row goes where it is complete first); 0: an idle unit takes as much as the target allows; between: in between.
        low_share: share of the time target that rows of other classes than LIVE may add to one batch.
        low_units: how many units may be at work on those rows at once, so that others stay free for LIVE; 0: all.
        wait_share: share of max_queue_delay_us that work is held back for while all units are idle.
    """

    spill: float = 1.0
    batch_share: float = 1.0
    divide: float = 0.0
    low_share: float = 0.1
    low_units: int = 0
    wait_share: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.spill <= 4:
            raise SchedulingError(f"spill must be from -1 to 4; got {self.spill!r}")
        if not 0.01 <= self.batch_share <= 1:
            raise SchedulingError(f"batch_share must be from 0.01 to 1; got {self.batch_share!r}")
        if not 0 <= self.divide <= 1:
            raise SchedulingError(f"divide must be from 0 to 1; got {self.divide!r}")
        if not 0.01 <= self.low_share <= 1:
            raise SchedulingError(f"low_share must be from 0.01 to 1; got {self.low_share!r}")
        if not 0 <= self.low_units <= 64:
            raise SchedulingError(f"low_units must be from 0 to 64; got {self.low_units!r}")
        if not 0 <= self.wait_share <= 1:
            raise SchedulingError(f"wait_share must be from 0 to 1; got {self.wait_share!r}")


class ExpectedCompletion:
    """ECT: never waits for more work while a unit is idle; an idle unit is passed over only where a busy one completes
    the same rows sooner."""

    def __init__(self, tuning: Tuning | None = None, name: str = "ect") -> None:
        self.name, self.tuning = name, tuning or Tuning()

    def choose(self, situation: Situation) -> tuple[Unit, int, int] | None:
        """See Policy."""
        return choose(situation, self.tuning)

    def completed(
        self, situation: Situation, unit: Unit, rows: int, took_us: float, live_rows: int, oldest_live_us: float
    ) -> None:
        """See Policy; the cost model has learned already."""


def choose(situation: Situation, tuning: Tuning) -> tuple[Unit, int, int] | None:
    """Return where the next batch goes by expected completion, the most rows for it, and the most of other classes than LIVE."""
    now, waiting, variant = situation.now_us, situation.waiting, situation.variant
    if tuning.wait_share and _is_worth_holding(situation, tuning):
        return None
    low_allowed = True
    if tuning.low_units and situation.live < waiting and situation.low_running >= tuning.low_units:
        waiting, low_allowed = situation.live, False
        if not waiting:
            return None
    best: Unit | None = None
    best_end = first_end = 0.0
    first: Unit | None = None  # the idle unit that would complete it first
    for unit in situation.units:
        if not unit.healthy:
            continue
        line = unit.lines[variant]
        if unit.idle:
            end = now + line.fixed_us + line.row_us * waiting
            if first is None or end < first_end:
                first, first_end = unit, end
        else:
            free = unit.busy_until_us
            # What is overdue by some time is expected to need as long again: a paused unit is not about to be free.
            end = (free if free > now else 2.0 * now - free) + line.fixed_us + line.row_us * waiting
        if best is None or end < best_end:
            best, best_end = unit, end
    if first is None:
        return None
    most = rows_within_target(situation, first, tuning)
    if first is not best:
        spilled = _rows_to_spill(situation, tuning, first, best, best_end)  # type: ignore[arg-type]
        if spilled < 1:
            return None
        if spilled < most:
            most = spilled
    elif tuning.divide and waiting > 1:
        share = _share_of_queue(situation, first, waiting)
        share = int(share + (1.0 - tuning.divide) * (waiting - share)) + 1
        if share < most:
            most = share
    if situation.live == situation.waiting or not low_allowed:
        return first, most, 0
    return first, most, low_rows(situation, first, tuning)


def low_rows(situation: Situation, unit: Unit, tuning: Tuning) -> int:
    """Return how many rows of other classes than LIVE a batch may hold: what an arriving LIVE request has to wait for."""
    config = situation.config
    return unit.lines[situation.variant].rows_within(config.target_us * tuning.low_share, config.max_batch_size)


def rows_within_target(situation: Situation, unit: Unit, tuning: Tuning) -> int:
    """Invert the p99 line of the unit: the rows that it completes before the oldest one is older than the target."""
    config = situation.config
    target = config.target_us
    room = target * tuning.batch_share
    left = target - (situation.now_us - situation.oldest_us)
    # A queue that is late already is not served quicker by tiny batches: it gets the whole of what one batch may take.
    if 0 < left < room and left > 0.25 * room:
        room = left
    return unit.lines[situation.variant].rows_worth(room, config.max_batch_size)


def _rows_to_spill(situation: Situation, tuning: Tuning, unit: Unit, best: Unit, best_end: float) -> int:
    if tuning.spill < 0:
        return 0
    now, free = situation.now_us, best.busy_until_us
    if free < now:
        free = 2.0 * now - free
    line = unit.lines[situation.variant]
    room = free + tuning.spill * (best_end - free) - now - line.fixed_us
    if room < line.row_us:
        return 0
    return int(room / line.row_us) if line.row_us > 0 else situation.waiting


def _share_of_queue(situation: Situation, unit: Unit, waiting: int) -> float:
    """Return the rows of `unit` when `waiting` rows are divided among all units so that they complete together.

    Unit i is free at f_i and then does a_i + b_i n: all end at t where the sum of (t - f_i - a_i) / b_i is `waiting`, over those
    units that begin before t.
    """
    now, variant = situation.now_us, situation.variant
    starts: list[tuple[float, float]] = []
    for other in situation.units:
        if other.healthy:
            line = other.lines[variant]
            free = 0.0 if other.idle else abs(other.busy_until_us - now)
            starts.append((free + line.fixed_us, 1.0 / line.row_us if line.row_us > 1e-6 else 1e6))
    starts.sort()
    rates = weighted = end = 0.0
    for start, rate in starts:
        if rates and start >= end:
            break
        rates += rate
        weighted += rate * start
        end = (waiting + weighted) / rates
    line = unit.lines[variant]
    rows = (end - line.fixed_us) / line.row_us if line.row_us > 1e-6 else float(waiting)
    return min(max(rows, 1.0), float(waiting))


def _is_worth_holding(situation: Situation, tuning: Tuning) -> bool:
    """Whether to hold work back: all units idle, and the oldest row has not waited its time. Sets when to ask again."""
    until = situation.oldest_us + tuning.wait_share * situation.config.max_queue_delay_us
    if until <= situation.now_us:
        return False
    for unit in situation.units:
        if not unit.idle:
            return False
    situation.wake_us = until
    return True
