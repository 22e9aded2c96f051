"""The contract of the feature windows: streaming is the reference, and the reference is the plain recomputation."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.native import VARIANTS
from kernels.velocity_windows import (
    ABSENT,
    BEHIND,
    LEFT_OUT,
    UNKNOWN,
    Aggregation,
    EventBatch,
    EventLogs,
    NativeWindowStore,
    WindowLayout,
)
from kernels.velocity_windows.reference import ReferenceWindowStore
from tests.kernels.variants import each_instruction_set, instruction_set
from tests.strategies import SMALL_LAYOUT, Step, arrivals_of, event_batch, examples, window_steps

STORES = pytest.mark.parametrize("store_type", [NativeWindowStore, ReferenceWindowStore])
COLUMNS = len(SMALL_LAYOUT.columns)


def process(store, rows: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    out = np.zeros((len(rows), len(store.layout.columns)), np.float32)
    late = store.process(event_batch(rows), out)
    return out, late


def at(rows: list[tuple], chosen: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (time, key, entities) of the chosen events, each once."""
    positions = sorted({i % len(rows) for i in chosen})
    batch = event_batch([rows[i] for i in positions])
    return batch.time_us, batch.key, batch.entities


def assert_same(ours: np.ndarray, truth: np.ndarray) -> None:
    np.testing.assert_allclose(ours, truth, rtol=2e-6, atol=1e-6, equal_nan=True)


# --- native against the reference ----------------------------------------------------------------------------------------


@examples(150)
@given(window_steps())
def test_native_store_equals_the_reference(steps: list[Step]):
    native, reference = NativeWindowStore(SMALL_LAYOUT), ReferenceWindowStore(SMALL_LAYOUT)
    arrived: list[tuple] = []
    for step, rows in arrivals_of(steps):
        if step.kind == "events":
            (ours, ours_late), (truth, truth_late) = process(native, rows), process(reference, rows)
            assert_same(ours, truth)
            np.testing.assert_array_equal(ours_late, truth_late)
            arrived += rows
        elif arrived and step.kind == "label":
            time, key, entities = at(arrived, step.chosen)
            fraud = np.resize(np.array(step.fraud, np.uint8), len(time))
            assert native.label(time, key, entities, fraud) == reference.label(time, key, entities, fraud)
        elif arrived:
            native.remove(*at(arrived, step.chosen))
            reference.remove(*at(arrived, step.chosen))
        assert native.event_count() == reference.event_count()


@each_instruction_set
@examples(40)
@given(steps=window_steps(others_than_events=False))
def test_every_instruction_set_writes_the_same_bits(instructions: str, steps: list[Step]):
    rows = [row for _, placed in arrivals_of(steps) for row in placed]
    with instruction_set(VARIANTS[0]):
        plain, _ = process(NativeWindowStore(SMALL_LAYOUT), rows)
    with instruction_set(instructions):
        ours, _ = process(NativeWindowStore(SMALL_LAYOUT), rows)
    # Of a NaN the sign says nothing.
    np.testing.assert_array_equal(np.nan_to_num(ours, nan=-1.5).view(np.uint32), np.nan_to_num(plain, nan=-1.5).view(np.uint32))
    assert_same(ours, process(ReferenceWindowStore(SMALL_LAYOUT), rows)[0])


@examples(40)
@given(window_steps(others_than_events=False), st.randoms(use_true_random=False))
def test_how_the_stream_is_cut_into_batches_changes_nothing(steps: list[Step], random):
    rows = [row for _, placed in arrivals_of(steps) for row in placed]
    whole, _ = process(NativeWindowStore(SMALL_LAYOUT), rows)
    store, parts, start = NativeWindowStore(SMALL_LAYOUT), [], 0
    while start < len(rows):
        end = start + random.randint(1, 5)
        parts.append(process(store, rows[start:end])[0])
        start = end
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@examples(40)
@given(window_steps(others_than_events=False), window_steps(others_than_events=False))
def test_a_batch_taken_out_again_leaves_what_was_before(before: list[Step], undone: list[Step]):
    """Within the allowed lateness: what the undone events made an entity forget cannot come back."""
    kept = [row for _, placed in arrivals_of(before) for row in placed]
    newest = max((row[0] for row in kept), default=1_000)
    extra = [
        (min(row[0], newest + 5), *row[1:2], row[2] + 1_000, *row[3:]) for _, rows in arrivals_of(undone, newest) for row in rows
    ]
    probes = [
        (newest + later, 7, 10_000 + later, (row, row), (ABSENT, ABSENT), False) for later in (0, 3, 9, 25) for row in (0, 1, 2)
    ]
    plain, mended = NativeWindowStore(SMALL_LAYOUT), NativeWindowStore(SMALL_LAYOUT)
    process(plain, kept)
    process(mended, kept)
    process(mended, extra)
    batch = event_batch(extra)
    inserted = batch.insert > 0
    mended.remove(batch.time_us[inserted], batch.key[inserted], batch.entities[inserted])
    assert process(mended, probes)[0].tobytes() == process(plain, probes)[0].tobytes()


@STORES
@examples(40)
@given(steps=window_steps())
def test_absorbing_is_processing_without_the_answers(store_type, steps: list[Step]):
    answered, silent = store_type(SMALL_LAYOUT), store_type(SMALL_LAYOUT)
    for _, rows in arrivals_of(steps):
        if rows:
            process(answered, rows)
            silent.absorb(event_batch(rows))
    places = [(later, row) for later in (0, 9, 41) for row in (0, 1, 2)]
    probes = [(1_000 + later, 7, 10_000 + later, (row, row), (ABSENT, ABSENT), False) for later, row in places]
    assert process(silent, probes)[0].tobytes() == process(answered, probes)[0].tobytes()
    assert silent.event_count() == answered.event_count()


def scattered(rng: np.random.Generator, count: int, first: int, *, drift: float, spread: int, entities: int) -> list[tuple]:
    """Events of a few entities at times that are as good as in no order, with many ties."""
    return [
        (
            1_000 + int((first + i) * drift) + int(rng.integers(spread)), int(rng.integers(5)), first + i,
            tuple(rng.integers(-1, entities, 2).tolist()), tuple(rng.integers(-1, 4, 2).tolist()), bool(rng.random() < 0.9),
        )
        for i in range(count)
    ]  # fmt: skip


@STORES
@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    drift=st.sampled_from([0.0, 0.15, 1.0]),
    spread=st.sampled_from([1, 8, 41, 150]),
    entities=st.integers(1, 3),
)
def test_absorbing_in_pieces_of_any_size_leaves_what_one_by_one_does(store_type, seed, drift, spread, entities):
    rng = np.random.default_rng(seed)
    rows = scattered(rng, 400, 0, drift=drift, spread=spread, entities=entities)
    one, pieces = NativeWindowStore(SMALL_LAYOUT), store_type(SMALL_LAYOUT)
    start = 0
    while start < len(rows):
        end = min(start + int(rng.choice([1, 5, 40, 200])), len(rows))
        before, export = told(pieces), pieces.export()
        pieces.absorb(event_batch(rows[start:end]))
        assert events_of(export) == before
        for row in rows[start:end]:
            process(one, [row])
        assert (told(pieces), pieces.newest_us, pieces.event_count()) == (told(one), one.newest_us, one.event_count())
        labelled, fraud = event_batch(rows[start:end]), np.arange(end - start, dtype=np.uint8) % 2
        for store in (one, pieces):
            store.label(labelled.time_us, labelled.key, labelled.entities, fraud)
        start = end
    # What is derived from the events is the same as well, and stays it.
    after = scattered(rng, 30, len(rows), drift=drift, spread=spread, entities=entities)
    (ours, ours_late), (truth, truth_late) = process(pieces, after), process(one, after)
    assert_same(ours, truth)
    np.testing.assert_array_equal(ours_late, truth_late)
    if store_type is NativeWindowStore:
        assert ours.tobytes() == truth.tobytes()


def test_a_late_event_that_newer_ones_of_its_batch_push_out_is_not_absorbed():
    """One by one it would have been taken, and forgotten when the last of these came."""
    retention = SMALL_LAYOUT.retention_us
    early = [(1_000 + i // 8, 1, i, (0, ABSENT), (ABSENT, ABSENT), True) for i in range(200)]
    late = (1_000, 1, 200, (0, ABSENT), (ABSENT, ABSENT), True)
    newest = (1_001 + retention, 1, 201, (0, ABSENT), (ABSENT, ABSENT), True)
    one, pieces = NativeWindowStore(SMALL_LAYOUT), NativeWindowStore(SMALL_LAYOUT)
    process(one, early)
    for row in (late, newest):
        process(one, [row])
    pieces.absorb(event_batch(early))
    pieces.absorb(event_batch([late, newest]))
    assert (told(pieces), pieces.event_count()) == (told(one), one.event_count())


@examples(60)
@given(window_steps())
def test_what_a_store_contains_is_what_it_absorbed_and_did_not_forget(steps: list[Step]):
    native, reference = NativeWindowStore(SMALL_LAYOUT), ReferenceWindowStore(SMALL_LAYOUT)
    arrived: list[tuple] = []
    for step, rows in arrivals_of(steps):
        if rows:
            process(native, rows), process(reference, rows)
            arrived += rows
        elif arrived and step.kind == "remove":
            native.remove(*at(arrived, step.chosen))
            reference.remove(*at(arrived, step.chosen))
        if not arrived:
            continue
        batch = event_batch(arrived)
        contained = native.contains(batch.time_us, batch.key, batch.entities)
        np.testing.assert_array_equal(contained, reference.contains(batch.time_us, batch.key, batch.entities))
        assert not contained[batch.insert == 0].any() and not contained[(batch.entities < 0).all(axis=1)].any()


# --- the reference against a recomputation from the whole history --------------------------------------------------------


def recomputed(history: list[tuple], row: tuple, kind: int, aggregation: Aggregation, window: int, layout: WindowLayout) -> float:
    """Return one column from all events that ever arrived before, straight from the definition."""
    time, amount, _, entities, _, _ = row
    if entities[kind] == ABSENT:
        return math.nan
    of = [e for e in history if e[5] and e[3][kind] == entities[kind] and e[0] <= time and entities[kind] != UNKNOWN]
    if aggregation == Aggregation.SINCE_LAST:
        ages = [time - e[0] for e in of if time - e[0] <= layout.reach_us]
        return min(ages) * 1e-6 if ages else math.nan
    if aggregation.is_last:
        # Stable: of equal times the last to arrive is the nearest.
        nearest = sorted(of, key=lambda e: e[0])[::-1][window : window + 1]
        return last_event(nearest[0], row, kind, aggregation) if nearest and time - nearest[0][0] <= layout.reach_us else math.nan
    if aggregation.is_risk:
        end = time - layout.delay_us
        count = sum(end - layout.risk_us[window] <= e[0] < end for e in of)
        return {Aggregation.RISK_COUNT: count, Aggregation.RISK_FRAUD: 0, Aggregation.RISK_RATE: 0.0 if count else math.nan}[
            aggregation
        ]
    inside = [e for e in of if time - layout.window_us[window] <= e[0]]
    amounts = [e[1] for e in inside]
    if aggregation == Aggregation.COUNT:
        return len(inside)
    if aggregation == Aggregation.SUM:
        return sum(amounts)
    if aggregation == Aggregation.DISTINCT:
        return len({e[4][kind] for e in inside} - {ABSENT, UNKNOWN})
    if not inside:
        return math.nan
    mean = sum(amounts) / len(amounts)
    deviation = math.sqrt(sum((a - mean) ** 2 for a in amounts) / len(amounts))
    return {
        Aggregation.MEAN: mean,
        Aggregation.MAXIMUM: max(amounts),
        Aggregation.RATIO: amount / mean if mean else math.nan,
        Aggregation.ZSCORE: (amount - mean) / (deviation + layout.deviation_floor),
    }[aggregation]


def last_event(past: tuple, row: tuple, kind: int, aggregation: Aggregation) -> float:
    """Return what is told of one past event."""
    if aggregation == Aggregation.LAST_AMOUNT:
        return past[1]
    if aggregation == Aggregation.LAST_GAP:
        return (row[0] - past[0]) * 1e-6
    theirs, ours = past[4][kind], row[4][kind]
    return math.nan if theirs in (ABSENT, UNKNOWN) or ours == ABSENT else float(theirs == ours)


@STORES
@examples(30)
@given(steps=window_steps(max_late=10, others_than_events=False))
def test_streaming_equals_recomputation_from_the_whole_history(store_type, steps: list[Step]):
    """For events up to retention - reach behind the newest, which is the lateness that the state is kept for."""
    assert SMALL_LAYOUT.retention_us - SMALL_LAYOUT.reach_us >= 10
    store, history = store_type(SMALL_LAYOUT), []
    for _, rows in arrivals_of(steps):
        for row in rows:
            (ours,), (late,) = process(store, [row])
            truth = [recomputed(history, row, k, Aggregation(a), w, SMALL_LAYOUT) for k, a, w in SMALL_LAYOUT.columns]
            # The z-score of nearly equal large amounts loses digits in this plain formula, not in the store.
            np.testing.assert_allclose(ours, np.array(truth), rtol=1e-5, atol=2e-3, equal_nan=True)
            assert late == 0
            history.append(row)


# --- written examples ----------------------------------------------------------------------------------------------------

COUNT = len(Aggregation)
ONE = WindowLayout(1, (10,), (10,), 20, 100, 1.0, tuple((0, int(a), 0) for a in Aggregation))


def answers(store, *events: tuple[int, int], other: int = ABSENT, entity: int = 0, insert: bool = True) -> dict[str, float]:
    """Process (time, amount) events of one entity; return the last one's columns by name."""
    start = store.event_count() * 1000
    out, _ = process(store, [(time, amount, start + i, (entity,), (other,), insert) for i, (time, amount) in enumerate(events)])
    return {a.name: float(out[-1, int(a)]) for a in Aggregation}


@STORES
def test_an_event_never_sees_itself(store_type):
    alone = answers(store_type(ONE), (100, 5))
    assert (alone["COUNT"], alone["SUM"], alone["DISTINCT"]) == (0, 0, 0)
    assert all(math.isnan(alone[name]) for name in ("MEAN", "MAXIMUM", "RATIO", "ZSCORE", "SINCE_LAST", "RISK_RATE"))


@STORES
@pytest.mark.parametrize(("age", "seen"), [(9, 1), (10, 1), (11, 0)])
def test_window_start_is_inclusive(store_type, age, seen):
    assert answers(store_type(ONE), (100, 5), (100 + age, 5))["COUNT"] == seen


@STORES
def test_of_two_events_at_the_same_time_the_earlier_arrival_counts(store_type):
    store = store_type(ONE)
    assert answers(store, (100, 5), (100, 7))["SUM"] == 5
    assert answers(store, (100, 9))["SUM"] == 12


@STORES
def test_equal_events_count_each_by_itself(store_type):
    store = store_type(ONE)
    assert answers(store, (100, 5), (100, 5), (100, 5))["COUNT"] == 2
    store.remove(np.array([100]), np.array([1], np.uint64), np.zeros((1, 1), np.int32))
    assert answers(store, (100, 5), insert=False)["COUNT"] == 2


@STORES
@pytest.mark.parametrize(("age", "seen"), [(20, 0), (21, 1), (30, 1), (31, 0)])
def test_risk_window_starts_inclusive_and_ends_exclusive(store_type, age, seen):
    assert answers(store_type(ONE), (100, 5), (100 + age, 5))["RISK_COUNT"] == seen


@STORES
def test_a_label_counts_only_in_the_delayed_window_and_can_be_taken_back(store_type):
    store = store_type(ONE)
    answers(store, (100, 5), (101, 5))
    event = (np.array([100]), np.array([0], np.uint64), np.zeros((1, 1), np.int32))
    assert store.label(*event, np.array([1], np.uint8)) == 1
    assert answers(store, (125, 5), insert=False)["RISK_RATE"] == 0.5
    assert answers(store, (110, 5), insert=False)["RISK_FRAUD"] == 0
    answers(store, (125, 5))  # the running sums move on
    store.label(*event, np.array([0], np.uint8))
    assert answers(store, (126, 5), insert=False)["RISK_FRAUD"] == 0
    assert answers(store, (126, 5))["RISK_FRAUD"] == 0


@STORES
def test_label_of_an_event_that_was_forgotten_is_not_found(store_type):
    store = store_type(ONE)
    answers(store, (100, 5), (201, 5))
    assert store.label(np.array([100]), np.array([0], np.uint64), np.zeros((1, 1), np.int32), np.array([1], np.uint8)) == 0


@STORES
@pytest.mark.parametrize(("age", "known"), [(30, True), (31, False)])
def test_since_last_looks_no_further_back_than_the_longest_window(store_type, age, known):
    value = answers(store_type(ONE), (100, 5), (100 + age, 5))["SINCE_LAST"]
    assert math.isnan(value) if not known else value == pytest.approx(age * 1e-6)


LASTS = WindowLayout(1, (10,), (), 0, 100, 1.0, tuple((0, int(a), i) for a in Aggregation if a.is_last for i in range(3)))


def lasts(store, time: int, other: int = ABSENT, insert: bool = True) -> list[list[float]]:
    """Process an event whose amount is its time; return amounts, gaps in microseconds and sameness of the three events before."""
    out, _ = process(store, [(time, time, store.event_count(), (0,), (other,), insert)])
    amounts, gaps, same = out.reshape(3, 3).astype(float)
    return [amounts.tolist(), np.round(gaps * 1e6).tolist(), same.tolist()]


@STORES
def test_the_last_events_are_told_nearest_first(store_type):
    store, nan = store_type(LASTS), math.nan
    np.testing.assert_equal(lasts(store, 100, 1), [[nan] * 3] * 3)
    np.testing.assert_equal(lasts(store, 103, 2), [[100, nan, nan], [3, nan, nan], [0, nan, nan]])
    np.testing.assert_equal(lasts(store, 103), [[103, 100, nan], [0, 3, nan], [nan] * 3])
    np.testing.assert_equal(lasts(store, 104, 1), [[103, 103, 100], [1, 1, 4], [nan, 0, 1]])


@STORES
def test_last_events_of_a_late_event_are_those_before_it(store_type):
    store, nan = store_type(LASTS), math.nan
    for time in (100, 102, 104):
        lasts(store, time, time)
    np.testing.assert_equal(lasts(store, 103, 102), [[102, 100, nan], [1, 3, nan], [1, 0, nan]])
    np.testing.assert_equal(lasts(store, 105, 103), [[104, 103, 102], [1, 2, 3], [0, 0, 0]])


@STORES
@pytest.mark.parametrize(("age", "known"), [(10, True), (11, False)])
def test_last_events_are_no_older_than_the_longest_look_back(store_type, age, known):
    store = store_type(LASTS)
    lasts(store, 100), lasts(store, 100 + age - 1)
    amounts, _, _ = lasts(store, 100 + age)
    assert amounts[0] == 100 + age - 1 and (amounts[1] == 100) == known == (not math.isnan(amounts[1]))


@STORES
def test_a_counterpart_that_was_never_met_is_another_one(store_type):
    """So that what is only looked at is answered as what is absorbed, whose counterpart has got a number by then."""
    store = store_type(LASTS)
    lasts(store, 100, 1)
    assert lasts(store, 101, UNKNOWN, insert=False)[2][0] == lasts(store, 101, 2, insert=False)[2][0] == 0
    assert lasts(store, 101, 1, insert=False)[2][0] == 1 and math.isnan(lasts(store, 101, ABSENT, insert=False)[2][0])


@STORES
def test_mean_ratio_and_zscore(store_type):
    seen = answers(store_type(ONE), (100, 10), (101, 30), (102, 60))
    assert (seen["MEAN"], seen["MAXIMUM"], seen["RATIO"]) == (20, 30, 3)
    assert seen["ZSCORE"] == pytest.approx((60 - 20) / (10 + 1))


@STORES
def test_ratio_to_a_mean_of_zero_is_not_known(store_type):
    seen = answers(store_type(ONE), (100, 0), (101, 30))
    assert math.isnan(seen["RATIO"]) and seen["ZSCORE"] == 30


@STORES
def test_zscore_of_large_equal_amounts_does_not_suffer_cancellation(store_type):
    seen = answers(store_type(ONE), *[(100, 10**12 - 1)] * 5, (101, 10**12))
    assert seen["ZSCORE"] == pytest.approx(1.0)


@STORES
def test_distinct_counts_values_still_inside_the_window(store_type):
    store = store_type(ONE)
    for time, other in ((100, 1), (104, 2), (108, 1)):
        answers(store, (time, 5), other=other)
    assert answers(store, (110, 5), insert=False)["DISTINCT"] == 2
    assert answers(store, (115, 5), insert=False)["DISTINCT"] == 1
    assert answers(store, (108, 5), insert=False)["DISTINCT"] == 2
    assert answers(store, (115, 5), other=ABSENT)["DISTINCT"] == 1


@STORES
def test_maximum_falls_when_the_largest_leaves(store_type):
    store = store_type(ONE)
    assert answers(store, (100, 50), (103, 20), (106, 30), (110, 1))["MAXIMUM"] == 50
    assert answers(store, (111, 1))["MAXIMUM"] == 30
    assert answers(store, (117, 1))["MAXIMUM"] == 1


@STORES
def test_absent_entity_is_not_known_and_unknown_one_is_empty(store_type):
    store = store_type(ONE)
    absent = answers(store, (100, 5), entity=ABSENT)
    unknown = answers(store, (100, 5), entity=UNKNOWN)
    assert all(math.isnan(value) for value in absent.values())
    assert unknown["COUNT"] == 0 and math.isnan(unknown["MEAN"])
    assert store.event_count() == 0


@STORES
def test_an_event_that_is_late_within_retention_is_seen_by_later_ones_only(store_type):
    store = store_type(ONE)
    assert answers(store, (100, 1), (105, 2), (103, 4))["SUM"] == 1
    assert answers(store, (106, 9))["SUM"] == 7


@STORES
@pytest.mark.parametrize(("age", "kept"), [(100, True), (101, False)])
def test_an_event_behind_the_horizon_is_left_out_and_reported(store_type, age, kept):
    store = store_type(ONE)
    answers(store, (1_000, 5))
    _, late = process(store, [(1_000 - age, 5, 7, (0,), (ABSENT,), True)])
    assert (late[0] & LEFT_OUT, store.event_count()) == ((0, 2) if kept else (LEFT_OUT, 1))


@STORES
def test_a_dry_row_leaves_no_trace(store_type):
    store = store_type(ONE)
    first = answers(store, (100, 5), (104, 6), other=1)
    dry = answers(store, (109, 7), other=2, insert=False)
    again = answers(store, (109, 7), other=2, insert=False)
    assert first["COUNT"] == 1 and dry == pytest.approx(again, nan_ok=True)
    assert (dry["COUNT"], dry["DISTINCT"], store.event_count()) == (2, 1, 2)


# --- export, import, idle entities ---------------------------------------------------------------------------------------


def answers_everywhere(store, newest: int) -> bytes:
    """What every entity answers at moments around the newest event, without a trace."""
    rows = [
        (newest + later, 7, 90_000 + later, (row, row), (ABSENT, ABSENT), False) for later in (-9, 0, 3, 25) for row in (0, 1, 2)
    ]
    return process(store, rows)[0].tobytes()


def told(store) -> list[tuple]:
    """Every event of a store: (kind, row, time, amount, key, other), in order."""
    return events_of(store.export())


def events_of(parts: Iterable[EventLogs]) -> list[tuple]:
    """The events that an export tells, as `told` does."""
    found = []
    for logs in parts:
        rows = np.repeat(np.arange(logs.first_row, logs.first_row + len(logs.lengths)), logs.lengths)
        columns = (rows, logs.time_us, logs.amount_minor, logs.key, logs.other)
        found += [(logs.kind, *event) for event in zip(*(column.tolist() for column in columns), strict=True)]
    return found


def carry_out(store, step: Step, rows: list[tuple], arrived: list[tuple]) -> None:
    if step.kind == "events":
        process(store, rows)
    elif arrived and step.kind == "label":
        time, key, entities = at(arrived, step.chosen)
        store.label(time, key, entities, np.resize(np.array(step.fraud, np.uint8), len(time)))
    elif arrived:
        store.remove(*at(arrived, step.chosen))


@examples(60)
@given(window_steps(), window_steps())
def test_a_store_that_imports_an_export_goes_on_as_the_first(before: list[Step], after: list[Step]):
    stores = [NativeWindowStore(SMALL_LAYOUT), ReferenceWindowStore(SMALL_LAYOUT)]
    arrived: list[tuple] = []
    for step, rows in arrivals_of(before):
        for store in stores:
            carry_out(store, step, rows, arrived)
        arrived += rows
    native, reference = stores
    assert told(native) == told(reference)
    copies = [type_(SMALL_LAYOUT) for type_ in (NativeWindowStore, ReferenceWindowStore, NativeWindowStore)]
    for copy, source in zip(copies, (native, native, reference), strict=True):
        for logs in source.export():
            copy.import_logs(logs)
        assert copy.event_count() == native.event_count()
    newest = max((row[0] for row in arrived), default=1_000)
    for step, rows in arrivals_of(after, newest):
        rows = [(*row[:2], row[2] + 10_000, *row[3:]) for row in rows]
        for store in (native, *copies):
            carry_out(store, step, rows, arrived)
        arrived += rows
        newest = max((row[0] for row in arrived), default=1_000)
        truth = answers_everywhere(native, newest)
        assert answers_everywhere(copies[0], newest) == truth and answers_everywhere(copies[2], newest) == truth
        assert_same(process(copies[1], [(newest, 7, 99_999, (1, 1), (ABSENT, ABSENT), False)])[0],
                    process(native, [(newest, 7, 99_999, (1, 1), (ABSENT, ABSENT), False)])[0])  # fmt: skip


@STORES
@examples(60)
@given(before=window_steps(), meanwhile=window_steps())
def test_an_export_tells_the_store_as_it_was_when_it_began(store_type, before: list[Step], meanwhile: list[Step]):
    store, arrived = store_type(SMALL_LAYOUT), []
    for step, rows in arrivals_of(before):
        carry_out(store, step, rows, arrived)
        arrived += rows
    truth, export = told(store), store.export()
    newest = max((row[0] for row in arrived), default=1_000)
    found = []
    for i, (step, rows) in enumerate(arrivals_of(meanwhile, newest)):
        rows = [(*row[:2], row[2] + 10_000, *row[3:]) for row in rows]
        carry_out(store, step, rows, arrived)
        arrived += rows
        if i % 2:
            store.forget_idle(newest, 2)
            found += [next(export, None)]
    found += list(export)
    assert events_of(part for part in found if part is not None) == truth


def test_an_export_goes_through_entities_larger_than_its_pieces_and_many_rows():
    layout = WindowLayout(1, (10,), (), 0, 10**9, 1.0, ((0, 0, 0),))
    store = NativeWindowStore(layout)
    sizes = [0, 30_000, 1, 5, 0, 9_000, *[1] * 5_000]
    ids = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32).reshape(-1, 1)
    events = len(ids)
    batch = EventBatch(
        np.arange(events), np.arange(events) * 3, np.arange(events, dtype=np.uint64), ids, ids, np.ones(events, np.uint8)
    )
    store.process(batch, np.empty((events, 1), np.float32))
    export = store.export()
    first = next(export)
    store.process(
        EventBatch(*(getattr(batch, name)[-5_000:] for name in EventBatch.__dataclass_fields__)), np.empty((5_000, 1), np.float32)
    )
    parts = [first, *export]
    assert np.concatenate([part.lengths for part in parts]).tolist() == sizes
    assert np.concatenate([part.amount_minor for part in parts]).tolist() == (np.arange(events) * 3).tolist()


@STORES
def test_memory_that_was_set_aside_is_given_back_when_an_export_is_closed(store_type):
    store = store_type(ONE)
    answers(store, (100, 5), (101, 5))
    export = store.export()
    answers(store, (102, 5))
    export.close()
    assert list(export) == []
    assert [event[2] for event in told(store)] == [100, 101, 102]


def test_only_one_export_of_a_store_at_a_time():
    store = NativeWindowStore(ONE)
    export = store.export()
    with pytest.raises(KernelInputError, match="under way"):
        store.export()
    del export
    store.export()


def logs_of(times: list[int], **changed) -> EventLogs:
    n = len(times)
    arrays = {
        "kind": 0, "first_row": 0, "lengths": np.array([n], np.uint32), "time_us": np.array(times, np.int64),
        "amount_minor": np.ones(n, np.int64), "key": np.arange(n, dtype=np.uint32), "other": np.zeros(n, np.int32),
    }  # fmt: skip
    return EventLogs(**arrays | changed)


@STORES
@pytest.mark.parametrize(
    ("logs", "named"),
    [
        (logs_of([3, 2]), "order of time"),
        (logs_of([1], kind=1), "there is no kind"),
        (logs_of([1], kind=-1), "there is no kind"),
        (logs_of([1], first_row=-1), "there is no kind"),
        (logs_of([1], lengths=np.array([2], np.uint32)), "2 events"),
        (logs_of([1], key=np.zeros(1, np.int64)), "uint32"),
    ],
)
def test_logs_that_cannot_be_are_refused(store_type, logs, named):
    with pytest.raises(KernelInputError, match=named):
        store_type(ONE).import_logs(logs)


@STORES
def test_logs_of_an_entity_with_events_are_refused(store_type):
    store = store_type(ONE)
    store.import_logs(logs_of([1, 2]))
    with pytest.raises(KernelInputError, match="has events already"):
        store.import_logs(logs_of([3]))


@STORES
@pytest.mark.parametrize(("behind", "late"), [(70, 0), (71, BEHIND)])
def test_an_event_behind_what_windows_are_exact_for_is_reported(store_type, behind, late):
    """Of whatever entity; events that were not inserted do not count as the newest."""
    store = store_type(ONE)
    assert store.newest_us is None
    rows = [
        (1_000, 5, 0, (0,), (ABSENT,), True),
        (5_000, 5, 1, (0,), (ABSENT,), False),
        (1_000 - behind, 5, 2, (1,), (ABSENT,), True),
    ]
    assert process(store, rows)[1].tolist() == [0, 0, late]
    assert store.newest_us == 1_000
    store.newest_us = None
    assert process(store, rows[2:])[1].tolist() == [0]


@STORES
def test_idle_entities_are_freed_a_few_at_a_time(store_type):
    store = store_type(ONE)
    for entity in range(10):
        answers(store, (100 + entity, 5), other=1, entity=entity)
    assert store.forget_idle(105, 4) == 4 and store.event_count() == 6
    assert store.forget_idle(105, 6) == 1 and store.event_count() == 5
    assert sum(store.forget_idle(105, 3) for _ in range(9)) == 0
    assert answers(store, (109, 5), entity=0, insert=False)["COUNT"] == 0
    assert answers(store, (109, 5), entity=7, insert=False)["COUNT"] == 1
    assert answers(store, (110, 5), (111, 6), other=1, entity=0)["DISTINCT"] == 1
    assert store_type(ONE).forget_idle(10**6, 100) == 0


def test_the_memory_of_idle_entities_is_given_back():
    store = NativeWindowStore(WindowLayout(1, (10,), (), 0, 10**9, 1.0, ((0, int(Aggregation.DISTINCT), 0),)))
    _stream(store, 50_000, entities=10)
    full = store.memory_bytes()
    assert store.forget_idle(10**9, 100) == 50_000
    # What remains is the map of counterparts, 16 bytes a place.
    assert store.memory_bytes() < full - 50_000 * 40


# --- memory --------------------------------------------------------------------------------------------------------------


def _stream(store: NativeWindowStore, events: int, entities: int, step: int = 1) -> None:
    index = np.arange(events)
    out = np.empty((events, len(store.layout.columns)), np.float32)
    ids = (index % entities).astype(np.int32).reshape(-1, 1)
    store.process(
        EventBatch(
            index * step,
            np.ones(events, np.int64),
            index.astype(np.uint64),
            ids,
            (index % 50).astype(np.int32).reshape(-1, 1),
            np.ones(events, np.uint8),
        ),
        out,
    )


def test_memory_grows_linearly_with_what_is_remembered():
    for events in (20_000, 40_000, 80_000):
        store = NativeWindowStore(WindowLayout(1, (10,), (10,), 20, 10**9, 1.0, ((0, 0, 0),)))
        empty = store.memory_bytes()
        _stream(store, events, entities=100)
        assert store.event_count() == events
        # 32 bytes an event, room for half as many again, and what 100 entities cost each by itself.
        assert 32 * events < store.memory_bytes() - empty < 50 * events + 500_000


def test_what_lies_behind_the_retention_is_forgotten():
    store = NativeWindowStore(ONE)
    _stream(store, 200_000, entities=4)
    assert store.event_count() <= 4 * 26
    assert store.memory_bytes() < 200_000


def test_memory_of_a_burst_is_given_back():
    store = NativeWindowStore(ONE)
    _stream(store, 100_000, entities=1, step=0)
    at_peak = store.memory_bytes()
    answers(store, *[(1_000 + i, 1) for i in range(200)])
    assert store.event_count() <= 101
    assert store.memory_bytes() < at_peak / 10


def test_taking_everything_out_empties_the_store():
    store = NativeWindowStore(ONE)
    _stream(store, 3_000, entities=3, step=0)
    index = np.arange(3_000)
    store.remove(index * 0, index.astype(np.uint64), (index % 3).astype(np.int32).reshape(-1, 1))
    assert store.event_count() == 0
    assert answers(store, (0, 5), other=3) == pytest.approx(answers(NativeWindowStore(ONE), (0, 5), other=3), nan_ok=True)


# --- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"window_us": (20, 5)}, "ascend"),
        ({"window_us": tuple(range(1, 8))}, "at most 6"),
        ({"risk_us": (9, 3)}, "ascend"),
        ({"retention_us": 29}, "retention_us must be at least 30"),
        ({"columns": ((1, 0, 0),)}, "name kinds below"),
        ({"columns": ((0, 99, 0),)}, "aggregation"),
        ({"columns": ((0, 0, 1),)}, "window"),
        ({"columns": ((0, int(Aggregation.RISK_RATE), 1),)}, "window"),
        ({"columns": ((0, int(Aggregation.LAST_GAP), 8),)}, "LAST_GAP has the events 0 to 7"),
        ({"columns": ((0, int(Aggregation.LAST_GAP), -1),)}, "event"),
    ],
)
def test_a_layout_that_cannot_work_is_refused(changed, named):
    good = {
        "kinds": 1,
        "window_us": (10,),
        "risk_us": (10,),
        "delay_us": 20,
        "retention_us": 100,
        "deviation_floor": 1.0,
        "columns": (),
    }
    with pytest.raises(KernelInputError, match=named):
        WindowLayout(**good | changed)


@STORES
@pytest.mark.parametrize(
    ("field", "array"),
    [
        ("time_us", np.zeros(2, np.int32)),
        ("amount_minor", np.zeros(3, np.int64)),
        ("entities", np.zeros((2, 2), np.int32)),
        ("others", np.zeros((4, 1), np.int32)[::2]),
        ("insert", np.zeros(2, bool)),
    ],
)
def test_a_batch_of_other_shape_or_type_is_refused(store_type, field, array):
    good = {
        "time_us": np.zeros(2, np.int64), "amount_minor": np.zeros(2, np.int64), "key": np.zeros(2, np.uint64),
        "entities": np.zeros((2, 1), np.int32), "others": np.zeros((2, 1), np.int32), "insert": np.ones(2, np.uint8),
    }  # fmt: skip
    with pytest.raises(KernelInputError, match=field):
        store_type(ONE).process(EventBatch(**good | {field: array}), np.zeros((2, COUNT), np.float32))


@STORES
@pytest.mark.parametrize(
    "out",
    [
        np.zeros((2, COUNT - 1), np.float32),
        np.zeros((3, COUNT), np.float32),
        np.zeros((2, COUNT)),
        np.zeros((2, 2 * COUNT), np.float32)[:, ::2],
    ],
)
def test_an_output_that_does_not_fit_is_refused(store_type, out):
    rows = [(1, 1, 1, (0,), (0,), True), (2, 1, 2, (0,), (0,), True)]
    with pytest.raises(KernelInputError, match="out must be"):
        store_type(ONE).process(event_batch(rows), out)


@STORES
def test_labels_and_removals_of_other_shape_are_refused(store_type):
    store = store_type(ONE)
    time, key, entities = np.zeros(2, np.int64), np.zeros(2, np.uint64), np.zeros((2, 1), np.int32)
    with pytest.raises(KernelInputError):
        store.label(time, key, entities[:1], np.zeros(2, np.uint8))
    with pytest.raises(KernelInputError):
        store.label(time, key, entities, np.zeros(1, np.uint8))
    with pytest.raises(KernelInputError):
        store.remove(time, key[:1], entities)
