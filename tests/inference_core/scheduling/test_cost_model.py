"""The online line finds the costs that batches show, follows them when they change, and knows the tail."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import SchedulingError
from inference_core.runtime.cost import CostLine
from inference_core.scheduling import CostModel, OnlineLine
from tests.strategies import examples


def observed(line: OnlineLine, fixed: float, row: float, sizes, source=None, sigma=0.0) -> OnlineLine:
    for n in sizes:
        line.observe(n, (fixed + row * n) * (source.lognormvariate(0.0, sigma) if source else 1.0))
    return line


def sizes_up_to(most: int, count: int, seed: int = 1) -> list[int]:
    source = random.Random(seed)
    return [source.randint(1, most) for _ in range(count)]


@given(st.floats(33, 300), st.floats(0.33, 3))
@examples(40)
def test_costs_are_found_from_a_start_that_is_three_times_off(fixed, row):
    line = observed(OnlineLine(CostLine("full", 100.0, 1.0)), fixed, row, sizes_up_to(500, 400))
    for n in (1, 100, 500):
        assert line.at(n) == pytest.approx(fixed + row * n, rel=0.15)


def test_noise_averages_out_without_bias():
    line = observed(OnlineLine(CostLine("full", 40.0, 8.0)), 40.0, 8.0, sizes_up_to(300, 2_000), random.Random(3), 0.1)
    assert line.at(1) == pytest.approx(48, rel=0.1)
    assert line.at(300) == pytest.approx(2_440, rel=0.05)


def test_device_that_becomes_three_times_slower_is_followed_within_sixty_batches():
    line = observed(OnlineLine(CostLine("full", 40.0, 8.0)), 40.0, 8.0, sizes_up_to(200, 500))
    observed(line, 120.0, 24.0, sizes_up_to(200, 60, seed=2))
    assert line.at(100) == pytest.approx(3 * 840, rel=0.15)


def test_one_size_alone_keeps_the_slope_known_before():
    line = observed(OnlineLine(CostLine("full", 40.0, 8.0)), 40.0, 8.0, [1] * 500)
    assert line.at(200) == pytest.approx(1_640, rel=0.02)


def test_pause_of_the_host_hardly_moves_the_line():
    line = observed(OnlineLine(CostLine("full", 40.0, 8.0)), 40.0, 8.0, sizes_up_to(200, 300))
    line.observe(100, 500_000.0)
    assert line.at(100) == pytest.approx(840, rel=0.25)


@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_tail_covers_99_of_100_batches_about(sigma):
    source = random.Random(5)
    line = observed(OnlineLine(CostLine("full", 40.0, 8.0)), 40.0, 8.0, sizes_up_to(200, 3_000), source, sigma)
    over = 0
    for n in sizes_up_to(200, 3_000, seed=6):
        took = (40 + 8 * n) * source.lognormvariate(0.0, sigma)
        over += took > line.p99(n)
        line.observe(n, took)
    assert over / 3_000 <= 0.02
    assert line.tail < 1.5 * pytest.approx(2.718 ** (2.33 * sigma), rel=0.2).expected


@given(st.floats(1, 20_000), st.integers(1, 5_000))
@examples(60)
def test_rows_within_a_budget_fit_it_and_one_more_would_not(budget, most):
    line = OnlineLine(CostLine("full", 40.0, 8.0))
    rows = line.rows_within(budget, most)
    assert 1 <= rows <= most
    assert rows == 1 or line.p99(rows) <= budget * (1 + 1e-9)
    assert rows == most or line.p99(rows + 1) > budget * (1 - 1e-9)


@given(st.lists(st.tuples(st.integers(1, 2_000), st.floats(0.1, 1e6)), max_size=60))
@examples(60)
def test_line_is_never_negative_and_always_finite(batches):
    line = OnlineLine(CostLine("full", 40.0, 8.0))
    for rows, took in batches:
        line.observe(rows, took)
        assert 0 <= line.fixed_us < 1e9 and 0 <= line.row_us < 1e9 and 1 <= line.tail < 10
        assert line.fixed_us + line.row_us > 0


def test_model_names_what_it_lacks_and_refuses_doubles():
    costs = CostModel([("cpu:0", "full", CostLine("full", 40.0, 8.0))])
    with pytest.raises(SchedulingError, match="no cost line for cuda:0 full; there are cpu:0 full"):
        costs.line("cuda:0", "full")
    with pytest.raises(SchedulingError, match="two cost lines"):
        CostModel([("cpu:0", "full", CostLine("full", 1.0, 1.0))] * 2)
    with pytest.raises(SchedulingError, match="at least one device"):
        CostModel([])
    with pytest.raises(SchedulingError, match="zero"):
        OnlineLine(CostLine("full", 0.0, 0.0))
