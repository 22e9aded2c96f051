"""Before it serves, an executor is measured, chosen for and made; lines of other hardware are not believed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from inference_core.errors import ProgramError
from inference_core.runtime import (
    CostLine,
    CostTable,
    Device,
    DeviceKind,
    Ladder,
    LadderConfig,
    Serving,
    cpu,
    make_ready,
    measure_costs,
)
from kernels.errors import KernelInputError
from kernels.score_rows.reference import score_rows as reference
from tests.inference_core.runtime.tables import assert_same, rows, tables

TABLES = tables(4)
X, LISTS = rows(TABLES, 1, 40)
CPU = Device(DeviceKind.CPU, 0, "test", "plain")


def ladder(device: Device = CPU) -> Ladder:
    static, dynamic = cpu.variants(TABLES, device)
    return Ladder(TABLES, static, dynamic, LadderConfig(largest=64))


def lines(**us: float) -> tuple[CostLine, ...]:
    return tuple(CostLine(f"cpu:0 {name}", fixed, 0.0) for name, fixed in us.items())


def stored(ladder_: Ladder, hardware: str, prepared: float) -> CostTable:
    names = [variant.name for variant in ladder_.variants()]
    return CostTable(hardware, tuple(CostLine(name, prepared if name == "cpu:0 prepared" else 100.0, 0.0) for name in names))


def test_every_variant_is_measured_under_the_name_of_its_hardware():
    ours = ladder()
    (table,) = measure_costs(ours, X, LISTS, 2)
    assert table.hardware == CPU.hardware
    assert [line.variant for line in table.lines] == [variant.name for variant in ours.variants()]
    assert all(line.at(100) > 0 for line in table.lines)


def test_lines_of_this_hardware_are_believed():
    ours = ladder()
    make_ready(ours, [stored(ours, CPU.hardware, 1.0)], X, LISTS, 2, 8)
    assert ours.costs == (stored(ours, CPU.hardware, 1.0),)
    assert {shape.rows for _, shape, _ in ours.programs()} == {1, 2, 3, 4, 5, 7, 9}, "up to the bucket that holds 8 rows"
    assert {(shape.top, shape.lists) for _, shape, _ in ours.programs()} == {(2, True)}
    assert_same(ours.run(X[:5], LISTS[:5], 2), reference(TABLES, X[:5], LISTS[:5], 2))
    assert ours.counters().hits == 1


@pytest.mark.parametrize("change", [{"name": "another"}, {"capability": "avx2"}, {"kind": DeviceKind.CUDA}])
def test_lines_of_other_hardware_are_measured_again(change):
    ours = ladder()
    other = stored(ours, dataclasses.replace(CPU, **change).hardware, 1.0)
    make_ready(ours, [other], X, LISTS, 2, 8)
    assert other not in ours.costs and [table.hardware for table in ours.costs] == [CPU.hardware]


def test_lines_without_every_dynamic_variant_are_measured_again():
    ours = ladder()
    old = CostTable(CPU.hardware, lines(blocked_in_an_older_version=1.0))
    make_ready(ours, [old], X, LISTS, 2, 8)
    assert old not in ours.costs


def test_a_variant_that_does_not_take_the_program_is_left_out():
    class Refusing(cpu.PreparedRows):
        def prepare(self, shape):
            raise KernelInputError("too wide for me")

    ours = Ladder(TABLES, [Refusing(TABLES, CPU)], [cpu.BlockedRows(TABLES, CPU)])
    make_ready(ours, (), X, LISTS, 2, 8)
    assert [line.variant for table in ours.costs for line in table.lines] == ["cpu:0 blocked"]
    assert ours.counters().static_programs == ours.counters().failed_builds == 0


def test_a_variant_never_gets_more_rows_than_it_takes():
    class One(cpu.PreparedRows):
        most_rows = 1

    ours = Ladder(TABLES, [One(TABLES, CPU)], [cpu.BlockedRows(TABLES, CPU)])
    ours.use_costs([CostTable(CPU.hardware, lines(blocked=100.0, prepared=1.0))])
    ours.warm(64)
    assert {shape.rows for _, shape, _ in ours.programs()} == {1}


@pytest.mark.parametrize("serving", [((), 1), ((CPU,), 0)])
def test_serving_nowhere_or_nothing_is_refused(serving):
    with pytest.raises(ProgramError, match="at least one"):
        Serving(*serving)


def test_measuring_leaves_the_rows_as_they_were():
    before = X.copy(), LISTS.copy()
    measure_costs(ladder(), X, LISTS, 2)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(LISTS, before[1])
