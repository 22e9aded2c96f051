"""The plain recomputation: every answer looks at the whole retained log of the entity."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Self

import numpy as np

from kernels.errors import KernelInputError
from kernels.velocity_windows import (
    ABSENT,
    BEHIND,
    LEFT_OUT,
    UNKNOWN,
    Aggregation,
    EventBatch,
    EventLogs,
    WindowLayout,
    check_events,
    check_output,
)

_KEY_MASK = 0x7FFFFFFF


@dataclass
class _Event:
    time: int
    amount: int
    key: int
    other: int
    fraud: int = 0


class ReferenceWindowStore:
    """Answers the contract of `kernels.velocity_windows` word for word, O(log of the entity) a column."""

    def __init__(self, layout: WindowLayout) -> None:
        self.layout = layout
        self._logs: list[dict[int, list[_Event]]] = [{} for _ in range(layout.kinds)]
        reading = (Aggregation.DISTINCT, Aggregation.LAST_SAME)
        self._keeping_others = {kind for kind, aggregation, _ in layout.columns if aggregation in reading}
        self._examined = 0
        self.newest_us: int | None = None

    def process(self, batch: EventBatch, out: np.ndarray) -> np.ndarray:
        batch.check(self.layout.kinds)
        check_output(out, len(batch), len(self.layout.columns))
        late = np.zeros(len(batch), np.uint8)
        for i, time in enumerate(batch.time_us.tolist()):
            self._answer(batch, i, out)
            if self.newest_us is not None and time < self.newest_us - self.layout.retention_us + self.layout.reach_us:
                late[i] = BEHIND
            if batch.insert[i]:
                self.newest_us = time if self.newest_us is None else max(time, self.newest_us)
                if sum(self._absorb(batch, i, kind) for kind in range(self.layout.kinds)):
                    late[i] |= LEFT_OUT
        return late

    def absorb(self, batch: EventBatch) -> None:
        batch.check(self.layout.kinds)
        for i in np.flatnonzero(batch.insert).tolist():
            time = int(batch.time_us[i])
            self.newest_us = time if self.newest_us is None else max(time, self.newest_us)
            for kind in range(self.layout.kinds):
                self._absorb(batch, i, kind)

    def _answer(self, batch: EventBatch, i: int, out: np.ndarray) -> None:
        time, amount = int(batch.time_us[i]), int(batch.amount_minor[i])
        for c, (kind, aggregation, window) in enumerate(self.layout.columns):
            row = int(batch.entities[i, kind])
            log = [] if row == UNKNOWN else self._logs[kind].get(row, [])
            other = int(batch.others[i, kind])
            out[i, c] = math.nan if row == ABSENT else self._column(log, time, amount, other, Aggregation(aggregation), window)

    def _column(self, log: list[_Event], time: int, amount: int, other: int, aggregation: Aggregation, window: int) -> float:
        past = [e for e in log if e.time <= time]
        if aggregation == Aggregation.SINCE_LAST:
            known = past and time - past[-1].time <= self.layout.reach_us
            return (time - past[-1].time) * 1e-6 if known else math.nan
        if aggregation.is_last:
            known = len(past) > window and time - past[-1 - window].time <= self.layout.reach_us
            return _told(past[-1 - window], time, other, aggregation) if known else math.nan
        if aggregation.is_risk:
            end = time - self.layout.delay_us
            risky = [e for e in past if end - self.layout.risk_us[window] <= e.time < end]
            fraud = sum(e.fraud for e in risky)
            if aggregation == Aggregation.RISK_RATE:
                return fraud / len(risky) if risky else math.nan
            return len(risky) if aggregation == Aggregation.RISK_COUNT else fraud
        return _aggregate(
            [e for e in past if e.time >= time - self.layout.window_us[window]], amount, aggregation, self.layout.deviation_floor
        )

    def _absorb(self, batch: EventBatch, i: int, kind: int) -> int:
        row = int(batch.entities[i, kind])
        if row < 0:
            return 0
        log = self._logs[kind].setdefault(row, [])
        time = int(batch.time_us[i])
        if log and time < log[-1].time - self.layout.retention_us:
            return 1
        other = int(batch.others[i, kind]) if kind in self._keeping_others else ABSENT
        event = _Event(time, int(batch.amount_minor[i]), int(batch.key[i]) & _KEY_MASK, other)
        log.insert(bisect_right(log, time, key=lambda e: e.time), event)
        horizon = log[-1].time - self.layout.retention_us
        if event is log[-1]:
            log[:] = [e for e in log if e.time >= horizon]
        return 0

    def _matching(self, time: int, key: int, entities: np.ndarray) -> list[tuple[list[_Event], _Event]]:
        found = []
        for kind in range(self.layout.kinds):
            log = self._logs[kind].get(int(entities[kind]), [])
            found += [(log, e) for e in log if e.time == time and e.key == key & _KEY_MASK][-1:]
        return found

    def label(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray, fraud: np.ndarray) -> int:
        check_events(self.layout.kinds, time_us, key, entities, fraud)
        found = 0
        for i in range(len(time_us)):
            matches = self._matching(int(time_us[i]), int(key[i]), entities[i])
            for _, event in matches:
                event.fraud = int(fraud[i])
            found += bool(matches)
        return found

    def contains(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> np.ndarray:
        check_events(self.layout.kinds, time_us, key, entities)
        return np.array([bool(self._matching(int(t), int(k), e)) for t, k, e in zip(time_us, key, entities, strict=True)], bool)

    def remove(self, time_us: np.ndarray, key: np.ndarray, entities: np.ndarray) -> None:
        check_events(self.layout.kinds, time_us, key, entities)
        for i in reversed(range(len(time_us))):
            for log, event in self._matching(int(time_us[i]), int(key[i]), entities[i]):
                log.remove(event)

    def export(self) -> _Export:
        return _Export(
            [_logs_of(kind, row, log) for kind, logs in enumerate(self._logs) for row, log in sorted(logs.items()) if log]
        )

    def import_logs(self, logs: EventLogs) -> None:
        logs.check(self.layout.kinds)
        ends = np.cumsum(logs.lengths, dtype=np.int64).tolist()
        for row, (length, end) in enumerate(zip(logs.lengths.tolist(), ends, strict=True), logs.first_row):
            if length:
                self._import(logs, row, slice(end - length, end))

    def _import(self, logs: EventLogs, row: int, of: slice) -> None:
        times = logs.time_us[of]
        if self._logs[logs.kind].get(row):
            raise KernelInputError("an entity that is to be imported has events already")
        if np.any(times[1:] < times[:-1]):
            raise KernelInputError("the events of an entity are not in the order of time")
        others = logs.other[of].tolist() if logs.kind in self._keeping_others else [ABSENT] * len(times)
        columns = (times.tolist(), logs.amount_minor[of].tolist(), logs.key[of].tolist(), others)
        self._logs[logs.kind][row] = [
            _Event(time, amount, key & _KEY_MASK, other, key >> 31) for time, amount, key, other in zip(*columns, strict=True)
        ]

    def forget_idle(self, before_us: int, entities: int) -> int:
        everyone = [log for logs in self._logs for log in logs.values()]
        freed = 0
        for i in range(min(entities, len(everyone))):
            log = everyone[(self._examined + i) % len(everyone)]
            if log and log[-1].time < before_us:
                freed += len(log)
                log.clear()
        self._examined += entities
        return freed

    def memory_bytes(self) -> int:
        return 200 * self.event_count()  # an estimate: one small object with five numbers an event

    def event_count(self) -> int:
        return sum(len(log) for logs in self._logs for log in logs.values())


class _Export:
    """The logs were copied when it was made."""

    def __init__(self, logs: list[EventLogs]) -> None:
        self._logs = iter(logs)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventLogs:
        return next(self._logs)

    def close(self) -> None:
        self._logs = iter(())


def _logs_of(kind: int, row: int, log: list[_Event]) -> EventLogs:
    return EventLogs(
        kind,
        row,
        np.array([len(log)], np.uint32),
        np.array([event.time for event in log], np.int64),
        np.array([event.amount for event in log], np.int64),
        np.array([event.key | event.fraud << 31 for event in log], np.uint32),
        np.array([event.other for event in log], np.int32),
    )


def _told(past: _Event, time: int, other: int, aggregation: Aggregation) -> float:
    if aggregation == Aggregation.LAST_AMOUNT:
        return past.amount
    if aggregation == Aggregation.LAST_GAP:
        return (time - past.time) * 1e-6
    return math.nan if past.other < 0 or other == ABSENT else float(past.other == other)


def _aggregate(events: list[_Event], amount: int, aggregation: int, deviation_floor: float) -> float:
    count, total = len(events), sum(e.amount for e in events)
    if aggregation == Aggregation.COUNT:
        return count
    if aggregation == Aggregation.SUM:
        return total
    if aggregation == Aggregation.DISTINCT:
        return len({e.other for e in events if e.other >= 0})
    if not events:
        return math.nan
    mean = total / count
    if aggregation == Aggregation.MAXIMUM:
        return max(e.amount for e in events)
    if aggregation == Aggregation.MEAN:
        return mean
    if aggregation == Aggregation.RATIO:
        return amount / mean if mean > 0 else math.nan
    deviation = math.sqrt(count * sum(e.amount**2 for e in events) - total**2) / count
    return (amount - mean) / (deviation + deviation_floor)
