"""Lanes over a ring of rows without a GPU: a plain stream in place of the device's, and the reference in place of a kernel."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.runtime.gpu_lane import AnswerRing, RowLane, pinned_rows
from inference_core.scheduling import DynamicBatchConfig, Priority, RowQueue, RowRing, Scheduler
from kernels.errors import KernelInputError
from kernels.score_rows import ScoredRows
from kernels.score_rows.reference import score_rows as reference
from kernels.tables import RuleBits
from tests.inference_core.runtime.tables import assert_same, rows, tables
from tests.inference_core.runtime.test_gpu import on_device
from tests.inference_core.scheduling.schedulers import scheduler
from tests.strategies import examples

LIVE = Priority.LIVE
TABLES = tables(1, lists=0)


class PlainEvent:
    """A moment of the host's clock."""

    at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def query(self) -> bool:
        return True

    def elapsed_time(self, later) -> float:
        return (later.at - self.at) * 1e3


class PlainStream:
    """Does at once what a stream would do later."""

    def active(self):
        return contextlib.nullcontext()

    def event(self, captured: bool = False) -> PlainEvent:
        return PlainEvent()

    def capture(self, work, begin, end):
        work()

        def replay() -> None:
            begin.record()
            work()
            end.record()

        return replay

    def wait(self) -> None:
        pass


def answered(answers: AnswerRing, slots: np.ndarray) -> ScoredRows:
    """Return what the ring says of some slots."""
    bits = RuleBits(answers.hit[slots], answers.insufficient[slots], answers.error[slots])
    return ScoredRows.of(answers.margin[slots], bits, answers.top_features[slots], answers.top_contributions[slots])


@examples(40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(0, 4),
    st.sampled_from([0, 4]),
    st.lists(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 12)), min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_slices_of_the_ring_are_answered_in_their_slots_and_no_others(seed, capacity, top, trees, batches):
    of = tables(seed, lists=0, trees=trees)
    on = on_device(of)
    x = pinned_rows(on, capacity)
    x[:] = rows(of, seed, capacity)[0]
    answers = AnswerRing(on, capacity, top)
    lane = RowLane(on, x, answers, 64, PlainStream())
    expected = reference(of, x, None, top)
    whole = ScoredRows.of(expected.margin, expected.bits, expected.top_features, expected.top_contributions)
    for batch in batches:
        answers.margin.fill(-7.0)
        places = [slice(begin, min(begin + count, capacity)) for begin, count in batch if begin < capacity]
        if not places:
            continue
        lane.launch(places)
        assert lane.is_done()
        began, ended = lane.collect()
        first, last = lane.kernel_span()
        assert 0.0 <= began <= first <= last <= ended
        slots = np.unique(np.concatenate([np.arange(place.start, place.stop) for place in places]))
        one = ScoredRows.of(
            whole.margin[slots],
            RuleBits(*(word[slots] for word in (whole.bits.hit, whole.bits.insufficient, whole.bits.error))),
            whole.top_features[slots],
            whole.top_contributions[slots],
        )
        assert_same(answered(answers, slots), one)
        assert (np.delete(answers.margin, slots) == -7.0).all()


def test_what_a_ring_cannot_carry_is_refused():
    on = on_device(tables(1, lists=2))
    with pytest.raises(KernelInputError, match="no lists"):
        RowLane(on, pinned_rows(on, 8), AnswerRing(on, 8, 0), 4, PlainStream())
    on = on_device(TABLES)
    with pytest.raises(KernelInputError, match="capacity"):
        RowLane(on, np.zeros((8, 2), np.float32), AnswerRing(on, 8, 0), 4, PlainStream())
    lane = RowLane(on, pinned_rows(on, 8), AnswerRing(on, 8, 0), 4, PlainStream())
    for places in ([], [slice(0, 3), slice(4, 6)]):
        with pytest.raises(KernelInputError, match="from 1 to 4 rows"):
            lane.launch(places)


@examples(30)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(0, 10**6))
def test_every_row_of_a_queue_is_answered_once_with_the_bits_of_one_large_batch(chunks, seed):
    total, on = sum(chunks), on_device(TABLES)
    source = rows(TABLES, seed, total)[0]
    expected = reference(TABLES, source, None, 2)
    ring = RowRing(pinned_rows(on, 46))
    answers = AnswerRing(on, ring.capacity, 2)
    lines = {("gpu:0", "full"): (10.0, 0.1), ("gpu:1", "full"): (10.0, 0.1)}
    of = Scheduler(DynamicBatchConfig(max_batch_size=16), scheduler(lines).costs, queue=RowQueue({LIVE: ring}))
    lanes = {name: RowLane(on, ring.x, answers, 16, PlainStream()) for name, _ in lines}
    margins, seen, now, done = np.full(total, -7.0, np.float32), np.zeros(total, int), 0.0, 0
    for chunk in (*chunks, 0):
        now += 10.0
        admitted, refusal = of.admit_rows(LIVE, np.full(chunk, now + 1e5), now)
        assert refusal is None and admitted.all()
        assert of.queue.write(LIVE, source[done : done + chunk], now, now + 1e5) == done
        done += chunk
        while of.queue.total > (16 if chunk else 0):
            running = []
            while (dispatch := of.next(now)) is not None:
                taken, late = of.start(dispatch, now)
                lanes[dispatch.device].launch([one.item.slots for one in taken])
                running.append((dispatch, taken))
                assert not late
            for dispatch, taken in reversed(running):  # the later one is done first
                for one in taken:
                    tickets = slice(one.item.first, one.item.first + one.rows)
                    margins[tickets] = answers.margin[one.item.slots]
                    seen[tickets] += 1
                    of.queue.release(LIVE, one.item)
                of.completed(dispatch, now, now + 12.0)
            now += 12.0
    assert (seen == 1).all()
    assert np.array_equal(margins, expected.margin, equal_nan=True)
