"""The queue of rows in columns against queues of objects: the same rows at the same time, whatever comes in which order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import SchedulingError
from inference_core.scheduling import DynamicBatchConfig, Priority, RowQueue, RowRing, Run, Scheduler, WaitingQueue
from inference_core.scheduling.row_admission import admitted_in_order, rows_done_by
from tests.inference_core.scheduling.schedulers import ONE_UNIT, TWO_UNITS, scheduler
from tests.strategies import examples

LIVE, BULK, BACKGROUND = Priority
WIDTH = 3


@pytest.fixture(autouse=True, scope="module", params=[4, 1_024])
def block(request):
    """Few slots share a note of their earliest times, so that small rings have several; and as many as there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference_core.scheduling.row_queue._BLOCK", request.param)
        yield


def row_of(number: int) -> np.ndarray:
    return np.float32([number, -number, number * 0.5])


def rows_of(numbers: list[int]) -> np.ndarray:
    return np.array([row_of(number) for number in numbers], np.float32).reshape(-1, WIDTH)


def ring(capacity: int) -> RowRing:
    return RowRing(np.zeros((capacity, WIDTH), np.float32))


class PlainRows:
    """LIVE rows as objects in a list, within a capacity, each with its number; what the ring must do."""

    def __init__(self, capacity: int) -> None:
        self.queue, self.capacity, self.held = WaitingQueue(), capacity, []

    def room(self) -> int:
        # A slot is free again once it and all before it were given back.
        first = self.held[0] if self.held else None
        return self.capacity - (0 if first is None else self.written - first)

    written = 0

    def write(self, arrived: list[float], deadlines: list[float]) -> list[int]:
        numbers = list(range(self.written, self.written + len(arrived)))
        for number, at, deadline in zip(numbers, arrived, deadlines, strict=True):
            self.queue.put(LIVE, number, 1, at, deadline)
        self.held += numbers
        self.written += len(numbers)
        return numbers

    def release(self, numbers: list[int]) -> None:
        self.held = [number for number in self.held if number not in set(numbers)]


def numbers_of(found: list) -> list[int]:
    return [ticket for of in found for ticket in range(of.item.first, of.item.first + of.rows)]


# So short that deadlines are met to the microsecond, missed in the middle of a batch, and kept.
chunks = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 9)), min_size=1, max_size=9)
steps = st.one_of(
    st.tuples(st.just("write"), chunks),
    st.tuples(st.just("steady"), st.integers(1, 9)),  # one time to the deadline for all
    st.tuples(st.just("take"), st.integers(1, 12)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("pass"), st.integers(0, 6)),
)


@examples(200)
@given(st.integers(1, 17), st.lists(steps, min_size=15, max_size=60))
def test_ring_gives_the_rows_that_a_list_of_objects_would(capacity, story):
    queue, plain, now, at_work = RowQueue({LIVE: ring(capacity)}), PlainRows(capacity), 0.0, []
    of = queue.ring(LIVE)
    for what, how in story:
        if what in ("write", "steady"):
            gaps = how if what == "write" else [(0, 7)] * how
            gaps = gaps[: plain.room()]
            if not gaps:
                continue
            arrived = [now + gap for gap, _ in gaps]
            deadlines = [now + within for _, within in gaps]
            numbers = list(range(plain.written, plain.written + len(gaps)))
            assert queue.write(LIVE, rows_of(numbers), np.array(arrived), np.array(deadlines)) == numbers[0]
            assert plain.write(arrived, deadlines) == numbers
        elif what == "take":
            taken, late = queue.take((how, 0, 0), now)
            expected, expected_late = plain.queue.take((how, 0, 0), now)
            assert numbers_of(taken) == [one.item for one in expected]
            assert numbers_of(late) == [one.item for one in expected_late]
            oldest = min((one.arrived_us for one in expected), default=None)
            assert min((run.arrived_us for run in taken), default=None) == oldest
            first = min((one.deadline_us for one in expected), default=None)
            assert min((run.deadline_us for run in taken), default=None) == first
            assert all(run.deadline_us > now for run in taken) and all(run.item.rows == run.rows for run in taken)
            at_work += [run.item for run in (*taken, *late)]
        elif what == "release" and at_work:
            run = at_work.pop(how % len(at_work))
            queue.release(LIVE, run)
            plain.release(list(range(run.first, run.first + run.rows)))
        else:
            now += how if what == "pass" else 0
        # Rows at work lie where they lay, each with its own values.
        for run in at_work:
            assert (of.x[run.slots] == rows_of(range(run.first, run.first + run.rows))).all()
            assert run.slot == of.slot(run.first) and run.slots.stop <= capacity
        assert (queue.total, queue.rows, queue.oldest_us()) == (plain.queue.total, plain.queue.rows, plain.queue.oldest_us())
        assert queue.room(LIVE) == plain.room()
        head, expected_head = queue.head(LIVE), plain.queue.head(LIVE)
        assert (head is None) == (expected_head is None)
        if head is not None:
            assert (head.item.first, *head[1:]) == (expected_head.item, *expected_head[1:])


def test_batch_is_one_slice_and_two_at_the_end_of_the_ring():
    of = ring(8)
    of.write(rows_of(range(6)), 0.0, 10.0)
    assert of.take(5, 0.0) == ([Run(0, 0, 5)], [])
    of.release(Run(0, 0, 5))
    of.write(rows_of(range(6, 12)), 0.0, 10.0)
    assert of.take(6, 0.0) == ([Run(5, 5, 3), Run(8, 0, 3)], [])


def test_late_rows_in_the_middle_cut_a_batch_and_are_told_apart():
    of = ring(8)
    of.write(rows_of(range(6)), 0.0, np.array([9.0, 9.0, 1.0, 1.0, 9.0, 1.0]))
    assert of.take(3, 5.0) == ([Run(0, 0, 2), Run(4, 4, 1)], [Run(2, 2, 2)])
    assert of.waiting == 1


def test_many_late_rows_leave_in_few_steps():
    of = RowRing(np.zeros((100_000, 1), np.float32))
    of.write(np.zeros((100_000, 1), np.float32), 0.0, np.repeat([1.0, 9.0], 50_000))
    taken, late = of.take(10, 5.0)
    assert sum(run.rows for run in late) == 50_000 and taken == [Run(50_000, 50_000, 10)]
    assert len(late) < 10


def test_slots_are_free_again_in_order_once_every_run_before_was_released():
    of = ring(4)
    of.write(rows_of(range(4)), 0.0, 10.0)
    (first,), (second,) = of.take(2, 0.0)[0], of.take(2, 0.0)[0]
    of.release(second)
    assert of.room == 0  # the older run holds its slots still
    of.release(first)
    assert of.room == 4


def test_rows_are_written_in_place_across_the_end():
    of = ring(4)
    of.write(rows_of([0, 0, 0]), 0.0, 10.0)
    of.release(of.take(3, 0.0)[0][0])
    views = of.reserve(3)
    assert [len(view) for view in views] == [1, 2]
    views[0][:], views[1][:] = rows_of([3]), rows_of([4, 5])
    assert of.commit(3, np.array([1.0, 2.0, 3.0]), 10.0) == 3
    assert [of.x[of.slot(ticket), 0] for ticket in (3, 4, 5)] == [3.0, 4.0, 5.0]
    assert [of.arrived_us[of.slot(ticket)] for ticket in (3, 4, 5)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "memory",
    [np.zeros((4, 2)), np.zeros((0, 2), np.float32), np.zeros(4, np.float32), np.zeros((2, 4), np.float32).T],
)
def test_memory_that_does_not_fit_is_refused(memory):
    with pytest.raises(SchedulingError, match="float32"):
        RowRing(memory)


def test_ring_says_what_it_cannot_do():
    of = ring(4)
    of.write(rows_of(range(3)), 0.0, 10.0)
    for wrong in (
        lambda: of.write(rows_of(range(2)), 0.0, 10.0),  # no room
        lambda: of.reserve(2),
        lambda: of.write(np.zeros((1, WIDTH + 1), np.float32), 0.0, 10.0),
        lambda: of.write(np.zeros(WIDTH, np.float32), 0.0, 10.0),
        lambda: of.commit(1, np.zeros(2), 10.0),
        lambda: of.slot(3),
        lambda: of.release(Run(0, 0, 3)),  # not taken
    ):
        with pytest.raises(SchedulingError):
            wrong()
    assert (of.waiting, of.room) == (3, 1)
    (run,), _ = of.take(2, 0.0)
    of.release(run)
    with pytest.raises(SchedulingError, match="release each run once"):
        of.release(run)
    with pytest.raises(SchedulingError, match="is not among them"):
        of.slot(0)


def test_calls_of_other_classes_stay_whole_beside_a_ring():
    queue = RowQueue({LIVE: ring(8)})
    queue.write(LIVE, rows_of(range(5)), 3.0, 100.0)
    queue.put(BULK, "call", 7, 1.0, 100.0)
    assert (queue.rows, queue.total, queue.oldest_us(), queue.head(BULK).item) == ([5, 7, 0], 12, 1.0, "call")
    taken, late = queue.take((4, 1, 0), 5.0)
    assert [(of.item, of.rows, of.priority) for of in taken[:1]] == [(Run(0, 0, 4), 4, LIVE)]
    assert late == [] and queue.rows == [1, 7, 0]  # a call that is larger than its room waits while others run
    assert [of.item for of in queue.take((0, 1, 0), 5.0)[0]] == ["call"]
    with pytest.raises(SchedulingError, match="LIVE is a ring"):
        queue.put(LIVE, "call", 1, 0.0, 1.0)
    with pytest.raises(SchedulingError, match="BULK has no ring"):
        queue.write(BULK, rows_of([1]), 0.0, 1.0)
    assert queue.remove(LIVE, "call") is None and queue.room(BULK) > 1 << 60


# --- admission ---------------------------------------------------------------------------------------------------------


@examples(200)
@given(st.lists(st.integers(0, 12), max_size=30), st.booleans())
def test_rows_are_admitted_as_one_after_the_other(allowed, ascending):
    allowed = sorted(allowed) if ascending else allowed
    count, expected = 0, []
    for most in allowed:
        expected.append(count < most)
        count += count < most
    assert admitted_in_order(np.array(allowed, np.int64)).tolist() == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(0, 1e3), st.floats(1e-3, 1e3))
def test_number_of_rows_in_time_is_exact(deadlines, begin, row):
    done = rows_done_by(np.array(deadlines), begin, row, 50)
    for deadline, rows in zip(deadlines, done.tolist(), strict=True):
        assert rows == sum(begin + k * row <= deadline for k in range(1, 51))


@examples(150)
@given(
    st.sampled_from([TWO_UNITS, ONE_UNIT, {("gpu:0", "full"): (900.0, 0.7)}]),
    st.lists(
        st.tuples(st.floats(0, 300), st.sampled_from(Priority), st.lists(st.integers(-20, 3_000), min_size=1, max_size=12)),
        min_size=4,
        max_size=16,
    ),
    st.booleans(),
)
def test_many_rows_are_admitted_as_single_requests_would_be(lines, arrivals, in_order):
    rings = {priority: ring(40) for priority in Priority}
    config = DynamicBatchConfig(max_batch_size=16)
    one = scheduler(lines, config)
    many = Scheduler(config, scheduler(lines, config).costs, queue=RowQueue(rings))
    now = 0.0
    for gap, priority, within in arrivals:
        now += gap
        deadlines = [now + of for of in (sorted(within) if in_order else within)]
        room, expected, said = many.queue.room(priority), [], None
        for deadline in deadlines:
            if sum(expected) >= room:
                expected.append(False)  # the ring is full; the other queue has no end
                continue
            refusal = one.admit(priority, 1, deadline, now)
            expected.append(refusal is None)
            if refusal is None:
                one.queue.put(priority, None, 1, now, deadline)
            said = refusal or said
        admitted, refusal = many.admit_rows(priority, np.array(deadlines), now)
        assert admitted.tolist() == expected
        assert (refusal is None) == all(expected)
        if not expected[-1] and sum(expected) < room:
            assert refusal == said
        kept = np.flatnonzero(admitted)
        many.queue.write(priority, np.zeros((len(kept), WIDTH), np.float32), now, np.array(deadlines)[kept])
        assert (many.queue.rows, many.admitted, many.traffic.arrived) == (one.queue.rows, one.admitted, one.traffic.arrived)


def test_full_ring_refuses_at_once():
    of = Scheduler(DynamicBatchConfig(), scheduler().costs, queue=RowQueue({LIVE: ring(4)}))
    admitted, refusal = of.admit_rows(LIVE, np.full(6, 1e5), 0.0)
    assert admitted.tolist() == [True] * 4 + [False] * 2 and refusal.reason == "the queue is full" and refusal.retry_after_s > 0
    assert of.figures()["classes"]["live"] == {"admitted": 4, "refused": 2, "late": 0, "waiting": 0}


# --- the scheduler around it -------------------------------------------------------------------------------------------


@examples(100)
@given(
    st.lists(
        st.tuples(st.sampled_from(["come", "end", "fail"]), st.floats(0, 400), st.sampled_from(Priority), st.integers(1, 12)),
        min_size=15,
        max_size=50,
    )
)
def test_scheduler_decides_the_same_about_rows_in_columns_and_objects(events):
    config = DynamicBatchConfig(target_latency_ms=0.5, max_batch_size=8, deadlines_ms=dict.fromkeys(Priority, 1.5))
    one = scheduler(TWO_UNITS, config)
    many = Scheduler(config, scheduler(TWO_UNITS, config).costs, queue=RowQueue({of: ring(1_000) for of in Priority}))
    now, written, running, seen, late_seen = 0.0, [0, 0, 0], [], [], []

    def serve():
        while (dispatch := many.next(now)) is not None:
            other = one.next(now)
            assert (other.device, other.counts) == (dispatch.device, dispatch.counts)
            taken, late = many.start(dispatch, now)
            expected, expected_late = one.start(other, now)
            tickets = [(of.priority, ticket) for of in taken for ticket in numbers_of([of])]
            assert tickets == [(of.priority, of.item) for of in expected]
            gone = [(of.priority, ticket) for of in late for ticket in numbers_of([of])]
            assert gone == [(of.priority, of.item) for of in expected_late]
            seen.extend(tickets)
            late_seen.extend(gone)
            for of in late:
                many.queue.release(of.priority, of.item)
            if taken:
                running.append((dispatch, other, now, taken))
        assert one.next(now) is None

    for kind, gap, priority, rows in events:
        now += gap
        if kind == "come":
            deadlines = np.full(rows, now + config.deadline_us(priority))
            admitted, _ = many.admit_rows(priority, deadlines, now)
            count = int(admitted.sum())
            for number in range(rows):
                if one.admit(priority, 1, deadlines[0], now) is None:
                    one.queue.put(priority, written[priority] + number, 1, now, deadlines[0])
            many.queue.write(priority, np.zeros((count, WIDTH), np.float32), now, deadlines[admitted])
            written[priority] += count
        elif running:
            dispatch, other, began, taken = running.pop(0)
            many.completed(dispatch, began, now + 1.0, kind == "end")
            one.completed(other, began, now + 1.0, kind == "end")
            for of in taken:
                many.queue.release(of.priority, of.item)
        serve()
    assert many.figures() == one.figures()
    assert len(set(seen + late_seen)) == len(seen) + len(late_seen) == sum(written) - many.queue.total


def test_what_a_batch_that_does_not_end_makes_late_leaves_the_ring_in_runs():
    queue = RowQueue({LIVE: ring(8)})
    of = Scheduler(DynamicBatchConfig(), scheduler({("cpu:0", "full"): (2_000.0, 0.0)}).costs, queue=queue)
    queue.write(LIVE, rows_of(range(4)), 0.0, 1e6)
    dispatch = of.next(0.0)
    (running,), _ = of.start(dispatch, 0.0)
    queue.write(LIVE, rows_of(range(4, 8)), 0.0, np.array([20_000.0, 20_000.0, 60_000.0, 20_000.0]))
    queue.put(BULK, "call", 3, 0.0, 20_000.0)
    assert of.take_late(5_000.0) == []
    late = of.take_late(12_000.0)
    assert [(one.item, one.rows) for one in late] == [(Run(4, 4, 2), 2), ("call", 3)]
    assert of.late == [2, 3, 0] and queue.rows == [2, 0, 0] and queue.total == 2
    assert of.take_late(12_000.0) == [], "the row behind the head waits, late as it may be"
    queue.release(LIVE, running.item)
    assert queue.room(LIVE) == 4, "the late ones hold their slots until they are released"
    queue.release(LIVE, late[0].item)
    assert queue.room(LIVE) == 6


def test_late_rows_on_both_sides_of_the_rings_end_are_two_runs():
    of = ring(4)
    of.write(rows_of(range(3)), 0.0, 100.0)
    of.release(of.take(3, 0.0)[0][0])
    of.write(rows_of(range(3, 7)), 0.0, np.array([5.0, 5.0, 5.0, 9.0]))
    assert of.take_late(4.0) == [] and of.take_late(5.0) == [Run(3, 3, 1), Run(4, 0, 2)] and of.waiting == 1
    assert of.take_late(9.0) == [Run(6, 2, 1)] and of.take_late(10.0) == []
