"""The ladder: which batch meets which variant, and that nobody can tell from the answer."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import ProgramError
from inference_core.runtime import CostLine, CostTable, Device, DeviceKind, Ladder, LadderConfig, cpu, make_ready
from inference_core.runtime.executor import Shape
from inference_core.runtime.ladder import has_missing
from kernels.errors import KernelInputError
from kernels.score_rows import ScoreTables
from kernels.score_rows.reference import score_rows as reference
from tests.inference_core.runtime.tables import assert_same, rows, tables
from tests.strategies import examples

CPU = Device(DeviceKind.CPU, 0, "test", "plain")
TABLES = tables(1)
SMALL = LadderConfig(largest=32, promote_after=2, most_programs=100)


def ladder(
    of: ScoreTables = TABLES, config: LadderConfig = SMALL, *, static: float | None = None, complete: float = 9e9
) -> Ladder:
    """A ladder on the CPU; with `static` microseconds a static program, 1,000 a dynamic one."""
    built = Ladder(of, cpu.variants(of, CPU)[0], [cpu.BlockedRows(of, CPU), cpu.ThreadedRows(of, CPU, 2)], config)
    if static is not None:
        lines = {"cpu:0 blocked": 1000, "cpu:0 threads": 2000, "cpu:0 prepared": static, "cpu:0 prepared complete": complete}
        built.use_costs([CostTable(CPU.hardware, tuple(CostLine(name, us, 0.0) for name, us in lines.items()))])
    return built


# --- buckets -------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5_000), st.floats(1.25, 1.5))
def test_buckets_are_steps_of_at_most_the_ratio_and_end_at_the_largest(largest, step):
    sizes = LadderConfig(largest=largest, step=step).buckets()
    assert sizes[0] == 1 and sizes[-1] == largest
    assert all(a < b <= max(a + 1, a * step) for a, b in zip(sizes, sizes[1:], strict=False))


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"largest": 0}, "largest"), ({"step": 1.2}, "step"), ({"step": 2}, "step"), ({"promote_after": 0}, "promote_after"),
     ({"most_programs": 0}, "most_programs")],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(changed, says):
    with pytest.raises(ProgramError, match=says):
        LadderConfig(**changed)


def test_a_ladder_without_a_dynamic_variant_is_refused():
    with pytest.raises(ProgramError, match="dynamic"):
        Ladder(TABLES, cpu.variants(TABLES, CPU)[0], [])


# --- the same bits -------------------------------------------------------------------------------------------------------


@examples(60)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(0, 45), st.integers(0, 5), st.booleans(), st.sampled_from("CFS")), min_size=1, max_size=12),
    st.sampled_from([None, 1.0, 5000.0]),
    st.sampled_from([0.5, 9e9]),
    st.sampled_from([0.0, 0.2]),
    st.booleans(),
)
def test_every_variant_gives_the_bits_of_the_reference(seed, batches, static, complete, missing, with_trees):
    of = tables(seed, trees=4 if with_trees else 0)
    ours = ladder(of, static=static, complete=complete if with_trees else 9e9)
    for number, (count, top, lists, order) in enumerate(batches * 3):
        x, memberships = rows(of, seed + number, count, missing)
        given_x = {"C": x, "F": np.asfortranarray(x), "S": np.repeat(x, 2, axis=0)[::2]}[order]
        given_lists = memberships if lists else None
        assert_same(ours.run(given_x, given_lists, top), reference(of, x, given_lists, top))


@examples(40)
@given(st.integers(0, 10**6), st.integers(0, 40), st.booleans(), st.integers(0, 5))
def test_each_variant_by_itself_gives_the_bits_of_the_reference(seed, count, lists, top):
    of = tables(seed)
    x, memberships = rows(of, seed, count, 0.0)
    given_lists = memberships if lists else None
    expected = reference(of, x, given_lists, top)
    for variant in ladder(of).variants():
        if hasattr(variant, "prepare"):
            assert_same(variant.prepare(Shape(count + seed % 3, top, lists)).run(x, given_lists), expected)
        else:
            assert_same(variant.run(x, given_lists, top), expected)


@pytest.mark.parametrize("count", [255, 256, 257, 1000, 2_001])
@pytest.mark.parametrize("lists", [False, True])
def test_threads_share_a_large_batch_and_give_its_bits(count, lists):
    x, memberships = rows(TABLES, count, count)
    given_lists = memberships if lists else None
    for make in (np.ascontiguousarray, np.asfortranarray):
        ours = cpu.ThreadedRows(TABLES, CPU, 3).run(make(x), given_lists, 2)
        assert_same(ours, reference(TABLES, x, given_lists, 2))
    with pytest.raises(KernelInputError):
        cpu.ThreadedRows(TABLES, CPU, 3).run(x.astype(float), given_lists, 2)
    with pytest.raises(KernelInputError):
        cpu.ThreadedRows(TABLES, CPU, 3).run(x, np.zeros((count + 1, TABLES.cuts.lists), bool), 2)
    for top in (-1, TABLES.cuts.features + 1):
        with pytest.raises(KernelInputError, match="top must be from 0"):
            cpu.ThreadedRows(TABLES, CPU, 3).run(x, given_lists, top)


def test_what_a_static_program_answered_is_not_overwritten_by_the_next_batch():
    ours = ladder(static=1.0)
    ours.warm(8, tops=(3,))
    batches = [rows(TABLES, seed, 3) for seed in range(20)]
    answers = [ours.run(x, memberships, 3) for x, memberships in batches]
    assert ours.counters().hits == 20
    for (x, memberships), answer in zip(batches, answers, strict=True):
        assert_same(answer, reference(TABLES, x, memberships, 3))


@given(st.lists(st.one_of(st.floats(width=32), st.sampled_from([3e38, -3e38, 1e-45, float("inf")])), max_size=40))
def test_a_missing_value_is_seen_and_nothing_else_is_taken_for_one(values):
    x = np.array(values, np.float32).reshape(1, -1)
    assert has_missing(x) == bool(np.isnan(x).any())


# --- which variant -------------------------------------------------------------------------------------------------------


def test_a_shape_seen_often_enough_gets_a_static_program():
    ours = ladder(static=1.0)
    x, memberships = rows(TABLES, 1, 5)
    for expected in ((0, 1, 0), (0, 2, 1), (1, 2, 1), (2, 2, 1)):
        ours.run(x, memberships, 2)
        told = ours.counters()
        assert (told.hits, told.misses, told.promotions) == expected
    ours.run(x[:4], memberships[:4], 2)  # bucket 5 of the sizes 1, 2, 3, 4, 5, 7, ...
    assert ours.counters().misses == 3, "another bucket"
    ours.run(x, memberships, 3)
    ours.run(x, None, 2)
    assert ours.counters().misses == 5 and ours.counters().hits == 2, "another top, and no lists"


@pytest.mark.parametrize(
    "make",
    [
        lambda x, m: (np.asfortranarray(x), m),
        lambda x, m: (np.repeat(x, 2, axis=0)[::2], m),
        lambda x, m: (x, np.asfortranarray(m)),
    ],
)
def test_a_guard_that_fails_leads_to_the_dynamic_variant(make):
    ours = ladder(static=1.0)
    ours.warm(8, tops=(2,))
    x, memberships = rows(TABLES, 1, 5)
    assert_same(ours.run(*make(x, memberships), 2), reference(TABLES, x, memberships, 2))
    assert (ours.counters().guard_failures, ours.counters().hits) == (1, 0)


@pytest.mark.parametrize(
    ("x", "memberships", "top"),
    [
        (np.zeros((2, 5)), None, 0),
        (np.zeros((2, 4), np.float32), None, 0),
        (np.zeros(5, np.float32), None, 0),
        (np.zeros((), np.float32), None, 0),
        (np.zeros((2, 5), np.float32), np.zeros((2, 2), np.uint8), 0),
        (np.zeros((2, 5), np.float32), np.zeros((3, 2), bool), 0),
        (np.zeros((2, 5), np.float32), None, 6),
        (np.zeros((2, 5), np.float32), None, -1),
    ],
)
def test_input_that_breaks_the_contract_is_refused_and_never_promoted(x, memberships, top):
    ours = ladder(static=1.0)
    ours.warm(8)
    for _ in range(3):
        with pytest.raises(KernelInputError):
            ours.run(x, memberships, top)
    assert (ours.counters().promotions, ours.counters().hits) == (0, 0)


def test_rows_without_missing_values_get_a_program_of_their_own_where_that_is_cheaper():
    ours = ladder(static=10.0, complete=1.0)
    ours.warm(8, tops=(0,), lists=(False,))
    for missing, name in ((0.0, "complete"), (0.9, "general")):
        x, _ = rows(TABLES, 3, 4, missing)
        assert_same(ours.run(x), reference(TABLES, x))
        assert ours.counters().hits == {"complete": 1, "general": 2}[name]
    assert {shape.complete for _, shape, _ in ours.programs()} == {True, False}
    assert not any(shape.complete for _, shape, _ in _warmed(ladder(static=10.0, complete=9.9)).programs()), (
        "looking would not pay"
    )


def _warmed(of: Ladder) -> Ladder:
    of.warm(8)
    return of


def test_where_the_dynamic_variant_is_cheaper_there_are_no_static_programs():
    ours = ladder(static=5000.0)
    x, memberships = rows(TABLES, 1, 5)
    for _ in range(5):
        ours.run(x, memberships)
    told = ours.counters()
    assert (told.dynamic, told.hits, told.misses, told.promotions, told.static_programs) == (5, 0, 0, 0, 0)


def test_larger_batches_than_the_largest_bucket_are_dynamic():
    ours = ladder(static=1.0)
    for _ in range(3):
        ours.run(rows(TABLES, 1, 33)[0])
    assert (ours.counters().dynamic, ours.counters().promotions) == (3, 0)


def test_new_cost_lines_replace_programs_that_no_longer_pay():
    ours = _warmed(ladder(static=1.0))
    ours.run(rows(TABLES, 1, 3)[0])
    assert ours.counters().static_programs > 0
    ours.use_costs([CostTable("", (CostLine("cpu:0 blocked", 1, 1), CostLine("cpu:0 prepared", 50, 50)))])
    ours.run(rows(TABLES, 1, 3)[0])
    told = ours.counters()
    assert (told.static_programs, told.hits, told.dynamic) == (0, 1, 1)


def test_cost_lines_of_no_dynamic_variant_are_refused():
    with pytest.raises(ProgramError, match="measure them again"):
        ladder().use_costs([CostTable("", (CostLine("cpu:0 prepared", 1, 1),))])


# --- bounds --------------------------------------------------------------------------------------------------------------


def test_the_program_not_used_for_longest_goes_and_its_return_is_a_recompile():
    ours = ladder(config=LadderConfig(largest=32, promote_after=1, most_programs=2), static=1.0)
    batches = {count: rows(TABLES, 1, count)[0] for count in (1, 2, 3)}
    for count in (1, 2, 1, 3):  # 2 is the one not used for longest when 3 comes
        ours.run(batches[count])
    assert ours.counters().static_programs == 2 and ours.counters().promotions == 3
    ours.run(batches[1])
    assert ours.counters().hits == 2 and ours.counters().recompiles == 0
    ours.run(batches[2])
    assert (ours.counters().recompiles, ours.counters().static_programs) == (1, 2)


def test_steady_ragged_traffic_compiles_nothing():
    """10,000 batches of 1 to 40 rows, both orders, with and without lists and missing values."""
    ours = ladder(tables(1, trees=1, depth=1, rules=1), SMALL, static=1.0, complete=0.5)
    rng = np.random.default_rng(3)
    x, memberships = rows(ours.tables, 5, 40, 0.0)
    holes = np.where(rng.random(x.shape) < 0.3, np.float32(np.nan), x)
    columns = np.asfortranarray(x)

    def send(count: int) -> None:
        for size, kind, listed in zip(
            rng.integers(1, 41, count), rng.integers(0, 3, count), rng.integers(0, 2, count), strict=True
        ):
            ours.run((x, holes, columns)[kind][:size], memberships[:size] if listed else None, 1)

    send(1_000)
    before = ours.counters()
    send(10_000)
    after = ours.counters()
    assert (after.promotions - before.promotions, after.recompiles, after.misses - before.misses) == (0, 0, 0)
    assert after.hits - before.hits > 4_000 and after.guard_failures > before.guard_failures
    sent = after.hits + after.dynamic + after.misses + after.guard_failures + after.busy
    assert sent == 11_000, "every batch is counted once"


def test_a_static_program_that_cannot_be_made_is_told_once_and_traffic_goes_on(caplog):
    class Broken(cpu.PreparedRows):
        def prepare(self, shape):
            raise MemoryError("no room")

    ours = Ladder(TABLES, [Broken(TABLES, CPU)], [cpu.BlockedRows(TABLES, CPU)], SMALL)
    x, _ = rows(TABLES, 1, 1)
    for _ in range(6):
        assert_same(ours.run(x), reference(TABLES, x))
    assert ours.counters().failed_builds == 1 and ours.counters().misses == 6
    assert len([r for r in caplog.records if "no static program" in r.message]) == 1


def test_a_program_that_is_slow_to_make_is_made_beside_the_traffic():
    started, may_end = threading.Event(), threading.Event()

    class Slow(cpu.PreparedRows):
        quick_to_build = False

        def prepare(self, shape):
            started.set()
            assert may_end.wait(10)
            return super().prepare(shape)

    ours = Ladder(TABLES, [Slow(TABLES, CPU)], [cpu.BlockedRows(TABLES, CPU)], SMALL)
    x, _ = rows(TABLES, 1, 1)
    for _ in range(4):
        ours.run(x)
    assert started.wait(10)
    assert ours.counters().promotions == 0 and ours.counters().misses == 4
    may_end.set()
    ours.settle()
    ours.run(x)
    assert (ours.counters().promotions, ours.counters().hits) == (1, 1)


# --- threads -------------------------------------------------------------------------------------------------------------


def test_threads_share_a_ladder_and_every_answer_is_its_own():
    ours = ladder(static=1.0, config=LadderConfig(largest=32, promote_after=2, most_programs=3))
    wrong: list[str] = []

    def work(seed: int) -> None:
        for number in range(150):
            count = 1 + (seed + number) % 9
            x, memberships = rows(TABLES, 1_000 * seed + number, count)
            try:
                assert_same(ours.run(x, memberships, 2), reference(TABLES, x, memberships, 2))
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    told = ours.counters()
    assert told.hits + told.misses + told.busy + told.dynamic + told.guard_failures == 600


def test_a_program_at_work_for_another_thread_is_not_waited_for():
    ours = _warmed(ladder(static=1.0))
    (rung,) = [rung for key, rung in ours._rungs.items() if key == (1, 0, False, False)]
    x, _ = rows(TABLES, 1, 1)
    with rung.lock:
        assert_same(ours.run(x), reference(TABLES, x))
    assert (ours.counters().busy, ours.counters().hits) == (1, 0)


# --- an accelerator that fails -------------------------------------------------------------------------------------------


class Accelerator(cpu.BlockedRows):
    """Gives the CPU's bits as a device of its own would, until it is lost."""

    usual_rows = (0, 1 << 62)

    def __init__(self) -> None:
        super().__init__(TABLES, Device(DeviceKind.CUDA, 0, "fake", "sm_90"))
        self.name, self.calls, self.lost = "cuda:0 fake", 0, False

    def run(self, x, memberships, top):
        self.calls += 1
        if self.lost:
            raise RuntimeError("CUDA error: out of memory")
        return super().run(x, memberships, top)


def test_the_cpu_takes_over_a_lost_accelerator_in_the_same_batch_and_gives_it_back():
    accelerator, now = Accelerator(), [100.0]
    ours = Ladder(TABLES, [], [accelerator, cpu.BlockedRows(TABLES, CPU)], SMALL, clock=lambda: now[0])
    x, memberships = rows(TABLES, 5, 7)
    truth = reference(TABLES, x, memberships, 3)
    assert_same(ours.run(x, memberships, 3), truth)
    assert accelerator.calls == 1 and not ours.device_failed
    accelerator.lost = True
    assert_same(ours.run(x, memberships, 3), truth)
    assert ours.device_failed and ours.counters().device_failures == 1
    assert_same(ours.run(x, memberships, 3), truth)
    assert accelerator.calls == 2, "it is left alone for a while"
    now[0] += 31
    assert_same(ours.run(x, memberships, 3), truth)
    assert accelerator.calls == 3 and ours.device_failed, "tried again, and lost still"
    accelerator.lost = False
    now[0] += 31
    assert_same(ours.run(x, memberships, 3), truth)
    assert accelerator.calls == 4 and not ours.device_failed


def test_a_fault_of_the_caller_is_no_fault_of_the_device():
    accelerator = Accelerator()
    ours = Ladder(TABLES, [], [accelerator, cpu.BlockedRows(TABLES, CPU)], SMALL)
    with pytest.raises(KernelInputError):
        ours.run(np.zeros((2, 1), np.float32), None, 0)
    assert not ours.device_failed


def test_a_cpu_that_fails_has_nobody_to_take_over(monkeypatch):
    ours = ladder()
    monkeypatch.setattr(cpu.BlockedRows, "run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ladder().run(*rows(TABLES, 1, 3), 0)
    assert not ours.device_failed


def test_an_accelerator_that_fails_while_it_is_measured_is_left_out(caplog):
    accelerator = Accelerator()
    accelerator.lost = True
    ours = Ladder(TABLES, [], [accelerator, cpu.BlockedRows(TABLES, CPU)], SMALL)
    x, memberships = rows(TABLES, 2, 16)
    make_ready(ours, (), x, memberships, 2, 8)
    calls = accelerator.calls
    assert_same(ours.run(x, memberships, 2), reference(TABLES, x, memberships, 2))
    assert accelerator.calls == calls and ours.device_failed and "left out" in caplog.text
