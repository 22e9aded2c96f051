"""The scheduler's promises: no needless wait, deadlines, classes without starvation, refusals, the reduced program, the spare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import SchedulingError
from inference_core.runtime.cost import CostLine
from inference_core.scheduling import DynamicBatchConfig, ExpectedCompletion, Priority, Tuning
from tests.inference_core.scheduling.schedulers import ONE_UNIT, TWO_UNITS, arrive, scheduler
from tests.strategies import examples

LIVE, BULK, BACKGROUND = Priority


def run(of, dispatch, now, took=None, ok=True):
    """Start a dispatch and complete it; return what it took."""
    taken, _ = of.start(dispatch, now)
    of.completed(dispatch, now, now + (took or dispatch.expected_us), ok)
    return taken


def test_single_request_goes_at_once_to_the_unit_that_completes_it_first():
    of = scheduler()
    arrive(of, LIVE, 1, 0.0, "a")
    dispatch = of.next(0.0)
    assert (dispatch.device, dispatch.variant) == ("cpu:0", "full")
    taken, late = of.start(dispatch, 0.0)
    assert ([w.item for w in taken], late, of.queue.total) == (["a"], [], 0)


def test_large_queue_goes_to_the_unit_with_the_smaller_cost_a_row():
    of = scheduler()
    for _ in range(200):
        arrive(of, LIVE, 1, 0.0)
    assert of.next(0.0).device == "cuda:0"


def test_nothing_waits_while_a_unit_is_idle_that_would_complete_it_no_later():
    of = scheduler()
    arrive(of, LIVE, 1, 0.0)
    of.start(of.next(0.0), 0.0)
    arrive(of, LIVE, 1, 1.0)
    assert of.next(1.0).device == "cuda:0"


def test_idle_unit_is_passed_over_where_a_busy_one_completes_the_same_sooner():
    of = scheduler({("cpu:0", "full"): (1_000.0, 8.0), ("cuda:0", "full"): (60.0, 2.0)})
    arrive(of, LIVE, 1, 0.0)
    of.start(of.next(0.0), 0.0)
    arrive(of, LIVE, 1, 1.0)
    assert of.next(1.0) is None


def test_batch_keeps_within_the_target_and_the_largest_size():
    of = scheduler({("cpu:0", "full"): (40.0, 8.0)}, DynamicBatchConfig(target_latency_ms=1.0))
    for _ in range(500):
        arrive(of, LIVE, 1, 0.0)
    dispatch = of.next(0.0)
    taken, _ = of.start(dispatch, 0.0)
    assert 40 * 1.5 + 8 * 1.5 * len(taken) <= 1_000 < 40 * 1.5 + 8 * 1.5 * (len(taken) + 1)
    of = scheduler({("cpu:0", "full"): (40.0, 8.0)}, DynamicBatchConfig(max_batch_size=7))
    for _ in range(50):
        arrive(of, LIVE, 1, 0.0)
    assert len(of.start(of.next(0.0), 0.0)[0]) == 7


def test_work_that_cannot_meet_its_deadline_is_refused_with_the_time_to_come_back():
    of = scheduler(config=DynamicBatchConfig(deadlines_ms={LIVE: 5.0}))
    refusals = [arrive(of, LIVE, 1, 0.0) for _ in range(5_000)]
    first = next(i for i, refusal in enumerate(refusals) if refusal)
    assert 100 < first < 5_000 and all(refusals[first:])
    assert refusals[first].retry_after_s >= 0.05
    assert "deadline" in refusals[first].reason
    assert of.figures()["classes"]["live"] == {"admitted": first, "refused": 5_000 - first, "late": 0, "waiting": first}


def test_what_was_admitted_is_complete_by_its_deadline_when_costs_are_as_expected():
    of = scheduler(config=DynamicBatchConfig(deadlines_ms={LIVE: 5.0}))
    while arrive(of, LIVE, 1, 0.0) is None:
        pass
    running, now, answered = [], 0.0, 0
    while of.queue.total or running:
        while (dispatch := of.next(now)) is not None:
            taken, late = of.start(dispatch, now)
            assert not late
            running.append((now + dispatch.expected_us, now, dispatch, taken))
        now, began, dispatch, taken = min(running, key=lambda entry: entry[0])
        running = [entry for entry in running if entry[2] is not dispatch]
        of.completed(dispatch, began, now)
        assert all(now <= waiting.deadline_us for waiting in taken)
        answered += len(taken)
    assert answered == of.admitted[LIVE]


def test_late_work_is_dropped_before_it_is_scored():
    of = scheduler()
    arrive(of, LIVE, 1, 0.0, "late", deadline_us=1_000.0)
    arrive(of, LIVE, 1, 0.0, "in time")
    taken, late = of.start(of.next(2_000.0), 2_000.0)
    assert ([w.item for w in taken], [w.item for w in late]) == (["in time"], ["late"])
    assert of.figures()["classes"]["live"]["late"] == 1


def test_unit_stays_idle_where_all_were_late():
    of = scheduler()
    arrive(of, LIVE, 1, 0.0, deadline_us=1_000.0)
    taken, late = of.start(of.next(2_000.0), 2_000.0)
    assert not taken and len(late) == 1 and all(unit.idle for unit in of.units)
    assert of.next(2_000.0) is None


def test_passed_deadline_is_refused():
    assert "passed" in arrive(scheduler(), LIVE, 1, 10.0, deadline_us=10.0).reason


def test_live_goes_before_bulk_and_bulk_is_not_starved():
    of = scheduler({("cpu:0", "full"): (40.0, 8.0)})
    for k in range(200):
        arrive(of, BULK, 20, 0.0, f"bulk {k}")
    arrive(of, BACKGROUND, 20, 0.0, "background")
    now, order = 0.0, []
    for _ in range(400):
        for _ in range(60):
            arrive(of, LIVE, 1, now, "live", deadline_us=now + 1e9)
        dispatch = of.next(now)
        order += [w.item for w in run(of, dispatch, now)]
        now += dispatch.expected_us
    assert order[:60] == ["live"] * 60
    scored = [item for item in order if item != "live"]
    assert len(scored) > 50 and "background" in scored


def test_bulk_may_book_no_more_than_four_fifths_of_the_capacity():
    def booked(priority):
        of = scheduler(config=DynamicBatchConfig(deadlines_ms={LIVE: 1_000.0, BULK: 1_000.0}))
        while arrive(of, priority, 100, 0.0) is None:
            pass
        return of.admitted[priority]

    assert booked(BULK) / booked(LIVE) == pytest.approx(0.8 / 0.88, abs=0.02)


def test_reduced_program_comes_before_refusal_and_goes_again():
    of = scheduler(ONE_UNIT, DynamicBatchConfig(deadlines_ms={LIVE: 5.0}))
    while arrive(of, LIVE, 1, 0.0) is None:
        pass
    alone = scheduler({("cpu:0", "full"): (40.0, 8.0)}, DynamicBatchConfig(deadlines_ms={LIVE: 5.0}))
    while arrive(alone, LIVE, 1, 0.0) is None:
        pass
    assert of.admitted[LIVE] > 2 * alone.admitted[LIVE]
    now, variants = 0.0, []
    while (dispatch := of.next(now)) is not None:
        variants.append(dispatch.variant)
        run(of, dispatch, now)
        now += dispatch.expected_us
    assert variants[0] == "reduced"
    arrive(of, LIVE, 1, now)
    assert of.next(now).variant == "full"


def test_spare_unit_takes_live_work_that_would_wait_too_long():
    lines = {**TWO_UNITS, ("cpu:1", "full"): (40.0, 8.0)}
    of = scheduler(lines, policy=ExpectedCompletion(Tuning(low_share=1.0)), spare="cpu:1")
    for _ in range(2):
        arrive(of, BULK, 1_000, 0.0)
        of.start(of.next(0.0), 0.0)
    assert of.next(0.0) is None
    arrive(of, BULK, 1_000, 0.0)
    assert of.next(0.0) is None, "bulk work does not go there"
    arrive(of, LIVE, 1, 10.0, "live")
    dispatch = of.next(10.0)
    assert (dispatch.device, dispatch.spare) == ("cpu:1", True)
    assert [w.item for w in run(of, dispatch, 10.0)] == ["live"]
    assert of.figures()["spare_batches"] == 1


def test_spare_unit_rests_while_live_work_waits_little():
    of = scheduler({**TWO_UNITS, ("cpu:1", "full"): (40.0, 8.0)}, spare="cpu:1")
    for _ in range(3):
        arrive(of, LIVE, 1, 0.0)
        dispatch = of.next(0.0)
        if dispatch is not None:
            assert not dispatch.spare
            of.start(dispatch, 0.0)


def test_lost_device_gets_no_work_and_takes_its_capacity_along():
    of = scheduler()
    of.set_healthy("cuda:0", False)
    for _ in range(300):
        arrive(of, LIVE, 1, 0.0)
    assert of.next(0.0).device == "cpu:0"
    of.set_healthy("cpu:0", False)
    assert of.next(0.0) is None
    assert 0 < arrive(of, LIVE, 1, 0.0).retry_after_s <= 30
    of.set_healthy("cuda:0", True)
    assert arrive(of, LIVE, 1, 0.0) is None


def test_failed_batch_teaches_nothing_about_costs():
    of = scheduler()
    arrive(of, LIVE, 1, 0.0)
    dispatch = of.next(0.0)
    run(of, dispatch, 0.0, took=1e6, ok=False)
    figures = of.figures()
    assert figures["failed_batches"] == 1
    assert figures["units"]["cpu:0"]["variants"]["full"]["fixed_us"] == 40.0
    assert figures["units"]["cpu:0"]["variants"]["full"]["batches"] == 0


def test_swapped_program_starts_its_line_anew():
    of = scheduler()
    of.replace_costs("cpu:0", "full", CostLine("full", 10.0, 1.0))
    assert of.figures()["units"]["cpu:0"]["variants"]["full"]["row_us"] == 1.0


def test_caller_that_has_gone_is_taken_out():
    of = scheduler()
    item = object()
    arrive(of, LIVE, 3, 0.0, item)
    assert of.queue.remove(LIVE, item).rows == 3
    assert of.queue.remove(LIVE, item) is None
    assert of.queue.total == 0 and of.next(0.0) is None


@pytest.mark.parametrize(
    ("lines", "spare", "message"),
    [
        (TWO_UNITS, "cpu:9", "spare device 'cpu:9'"),
        ({("cpu:0", "full"): (1.0, 1.0)}, "cpu:0", "every device is the spare"),
        ({**TWO_UNITS, ("cuda:0", "reduced"): (1.0, 1.0)}, None, "same variants"),
    ],
)
def test_impossible_scheduler_is_refused(lines, spare, message):
    with pytest.raises(SchedulingError, match=message):
        scheduler(lines, spare=spare)


events = st.lists(
    st.tuples(
        st.floats(0, 400), st.sampled_from([0, 0, 0, 1, 2]), st.integers(1, 40), st.sampled_from(["come", "come", "end", "fail"])
    ),
    min_size=1,
    max_size=80,
)


@given(events, st.sampled_from([None, "cpu:1"]), st.integers(0, 1))
@examples(80)
def test_every_admitted_row_is_run_or_late_exactly_once_and_counts_agree(events, spare, low_units):
    lines = {**TWO_UNITS, ("cpu:1", "full"): (40.0, 8.0)}
    of = scheduler(
        lines, DynamicBatchConfig(deadlines_ms={LIVE: 6.0, BULK: 9.0}), ExpectedCompletion(Tuning(low_units=low_units)), spare
    )
    now, number, admitted, seen, running = 0.0, 0, [], [], []

    def serve():
        while (dispatch := of.next(now)) is not None:
            assert dispatch.unit.idle
            taken, late = of.start(dispatch, now)
            seen.extend(w.item for w in (*taken, *late))
            if taken:
                assert all(w.priority == LIVE for w in taken) or not dispatch.spare
                running.append((dispatch, now))

    for gap, priority, rows, kind in events:
        now += gap
        if kind == "come":
            number += 1
            if arrive(of, priority, rows, now, number) is None:
                admitted.append(number)
        elif running:
            dispatch, began = running.pop(0)
            of.completed(dispatch, began, now + 1.0, kind == "end")
        serve()
        assert of.queue.total == sum(of.queue.rows) >= 0
    while running or of.queue.total:
        now += 50.0
        if running:
            dispatch, began = running.pop(0)
            of.completed(dispatch, began, now)
        serve()
    assert sorted(seen) == admitted
    assert all(unit.idle for unit in of.units)


def test_unit_whose_fixed_cost_takes_most_of_the_target_is_not_fed_row_by_row():
    """As on a disk that syncs slowly: what a few batches can do in time is admitted, and done in few batches."""
    of = scheduler({("engine", "full"): (15_000.0, 500.0)})
    assert all(arrive(of, Priority.LIVE, 1, 0.0, deadline_us=1e6) is None for _ in range(200))
    now, batches = 0.0, 0
    while (dispatch := of.next(now)) is not None:
        of.start(dispatch, now)
        took = 15_000.0 + 500.0 * dispatch.rows
        of.completed(dispatch, now, now + took)
        now, batches = now + took, batches + 1
    assert of.queue.total == 0 and now < 1e6 and batches <= 10


def test_time_between_batches_counts_in_what_is_admitted():
    """One row takes 100 us; where the owner needs as long again before the next batch, half as many can be done in time."""

    def admitted(between_us: float) -> int:
        of, now = scheduler({("cpu:0", "full"): (0.0, 100.0)}), 0.0
        for _ in range(100):
            while of.queue.total < 20:
                assert arrive(of, LIVE, 10, now) is None
            dispatch = of.next(now)
            dispatch.counts = (10, 0, 0)
            of.start(dispatch, now)
            of.completed(dispatch, now, now + 1_000.0)
            now += 1_000.0 + between_us
        count = of.queue.total
        while arrive(of, LIVE, 1, now, deadline_us=now + 50_000.0) is None:
            count += 1
        return count

    assert admitted(1_000.0) == pytest.approx(admitted(0.0) / 2, rel=0.2)


def test_behind_another_batch_nothing_is_begun_that_its_own_batch_would_make_late():
    of = scheduler({("cpu:0", "full"): (1_000.0, 0.0)})
    arrive(of, LIVE, 1, 0.0, "first")
    first = of.next(0.0)
    of.start(first, 0.0)
    of.queue.put(LIVE, "late", 1, 0.0, 2_500.0)  # by the forecast it would have been in time
    of.queue.put(LIVE, "in time", 1, 0.0, 9_000.0)
    of.completed(first, 0.0, 2_000.0)
    taken, late = of.start(of.next(2_000.0), 2_000.0)
    assert [w.item for w in taken] == ["in time"] and [w.item for w in late] == ["late"]
    assert of.late[LIVE] == 1


def test_an_idle_unit_begins_whatever_its_costs_say():
    of = scheduler({("cpu:0", "full"): (1_000_000.0, 0.0)})
    assert arrive(of, LIVE, 1, 0.0, "a", deadline_us=5_000.0) is None
    taken, late = of.start(of.next(0.0), 0.0)
    assert [w.item for w in taken] == ["a"] and not late


def test_an_idle_units_next_batch_is_filled_whatever_costs_say_and_no_more():
    of = scheduler({("cpu:0", "full"): (1_000_000.0, 100_000.0)})
    admitted = sum(arrive(of, LIVE, 1, 0.0, number, deadline_us=5_000.0) is None for number in range(100))
    taken, late = of.start(of.next(0.0), 0.0)
    assert len(taken) == admitted < 100 and not late


def test_behind_a_batch_that_is_overdue_less_is_admitted():
    """Of 2 ms it took 10 so far: the forecast is that it takes 8 more."""
    of = scheduler({("cpu:0", "full"): (2_000.0, 0.0)})
    arrive(of, LIVE, 1, 0.0)
    of.start(of.next(0.0), 0.0)
    assert arrive(of, LIVE, 1, 1_000.0, deadline_us=15_000.0) is None
    assert arrive(of, LIVE, 1, 10_000.0, deadline_us=10_000.0 + 14_000.0) is None
    assert arrive(of, LIVE, 1, 10_000.0, deadline_us=10_000.0 + 7_000.0) is not None


def test_what_a_batch_that_does_not_end_makes_late_can_be_taken_out():
    of = scheduler({("cpu:0", "full"): (2_000.0, 0.0)})
    arrive(of, LIVE, 1, 0.0)
    assert of.take_late(0.0) == [], "nothing runs"
    dispatch = of.next(0.0)
    of.start(dispatch, 0.0)
    for item, deadline_us in (("a", 20_000.0), ("b", 60_000.0)):
        of.queue.put(LIVE, item, 1, 0.0, deadline_us)
    assert of.take_late(5_000.0) == []
    assert [w.item for w in of.take_late(12_000.0)] == ["a"]
    assert of.late[LIVE] == 1 and of.queue.total == 1
    of.completed(dispatch, 0.0, 30_000.0)
    assert of.take_late(59_000.0) == [], "it is free, and b is begun now"
