"""Cost lines: fitted to what was timed, never negative, and the cheapest one chosen."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import ProgramError
from inference_core.runtime.cost import CALIBRATION_ROWS, CostLine, CostTable, fit_line, measure

_lines = st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e2)), min_size=1, max_size=6).map(
    lambda of: tuple(CostLine(f"v{i}", a, b) for i, (a, b) in enumerate(of))
)


@given(st.floats(0.01, 1e4), st.floats(0.001, 1e3))
def test_exact_timings_give_their_line_back(fixed, row):
    line = fit_line("v", CALIBRATION_ROWS, [fixed + row * n for n in CALIBRATION_ROWS])
    assert line.at(1) == pytest.approx(fixed + row, rel=1e-3)
    assert line.at(4096) == pytest.approx(fixed + 4096 * row, rel=1e-3)


@given(st.lists(st.floats(0.1, 1e5), min_size=7, max_size=7))
def test_no_line_is_negative_and_none_nearby_fits_better(timings):
    line = fit_line("v", CALIBRATION_ROWS, timings)

    def error(fixed: float, row: float) -> float:
        rows, us = np.array(CALIBRATION_ROWS), np.array(timings)
        return float((((fixed + row * rows) / us - 1) ** 2).sum())

    best = error(line.fixed_us, line.row_us)
    for a, b in itertools.product((-1e-2, 0, 1e-2), (-1e-2, 0, 1e-2)):
        near = max(0.0, line.fixed_us + a), max(0.0, line.row_us + b * 1e-2)
        assert error(*near) >= best * (1 - 1e-6) - 1e-9


def test_one_size_gives_a_flat_line_or_one_through_zero():
    line = fit_line("v", [8], [40.0])
    assert line.at(8) == pytest.approx(40.0)


@pytest.mark.parametrize("timings", [[], [1.0, 0.0], [1.0, -2.0], [1.0]])
def test_timings_that_are_none_are_refused(timings):
    with pytest.raises(ProgramError, match="timings of v"):
        fit_line("v", [1, 2][: max(len(timings), 0)] if len(timings) != 1 else [1, 2], timings)


@given(_lines, st.integers(0, 10**6))
def test_the_cheapest_line_is_chosen(lines, rows):
    chosen = CostTable("", lines).choose(rows)
    assert chosen.at(rows) <= min(line.at(rows) for line in lines) * (1 + 1e-9) + 1e-9


@given(_lines)
def test_a_table_survives_json(lines):
    table = CostTable("cpu x", lines)
    again = CostTable.from_json(json.loads(json.dumps(table.to_json())))
    assert again.hardware == "cpu x" and [line.variant for line in again.lines] == [line.variant for line in lines]
    for a, b in zip(again.lines, lines, strict=True):
        assert a.at(1000) == pytest.approx(b.at(1000), abs=2e-3)


@pytest.mark.parametrize("figures", [(-1.0, 0.0), (0.0, -1.0), (float("nan"), 0.0), (0.0, float("inf"))])
def test_a_line_that_is_none_is_refused(figures):
    with pytest.raises(ProgramError, match="cost line of v"):
        CostLine("v", *figures)


@pytest.mark.parametrize("lines", [(), (CostLine("v", 1, 1), CostLine("v", 2, 2))])
def test_a_table_without_lines_or_with_two_of_a_variant_is_refused(lines):
    with pytest.raises(ProgramError, match="one line for each variant"):
        CostTable("", lines)


def _clock(of_rows: dict[int, int], seen: list[int]):
    """A clock by which a run of n rows takes of_rows[n] nanoseconds."""
    now = 0

    def read() -> int:
        nonlocal now
        now += of_rows.get(seen[-1], 0) if seen else 0
        return now

    return read


def test_measuring_takes_the_median_of_several_runs_a_size():
    seen: list[int] = []
    line = measure("v", seen.append, clock=_clock({n: 5_000 + 100 * n for n in CALIBRATION_ROWS}, seen))
    assert (line.fixed_us, line.row_us) == (pytest.approx(5.0), pytest.approx(0.1))
    assert sorted(set(seen)) == list(CALIBRATION_ROWS)


def test_measuring_stops_where_a_size_takes_too_long():
    seen: list[int] = []
    measure("v", seen.append, clock=_clock({n: n * 500_000 for n in CALIBRATION_ROWS}, seen))
    assert max(seen) == 16, "seven runs of 16 rows take 56 ms, more than the budget"
