"""Bins are ranks among the cuts: what plain comparison says of a value, its bin says too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bin_features import bin_features, reference
from kernels.tables import DERIVATION, MISSING, Arithmetic, CutTable
from tests.kernels.variants import each_instruction_set, instruction_set
from tests.strategies import examples

floats = st.floats(width=32, allow_nan=False)
BATCHES = (1, 200)  # one row and a block take different kernels


def one_column(cuts: list[float], derived: tuple[tuple, ...] = (), features: int = 1) -> CutTable:
    steps = np.array(list(derived), DERIVATION)
    source = features if derived else 0
    return CutTable(np.array(cuts, np.float32), np.array([0, len(cuts)]), np.array([source]), features, 0, steps)


@each_instruction_set
@examples(60)
@given(cuts=st.lists(floats, max_size=254, unique_by=lambda v: v + 0.0), data=st.data())
def test_a_bin_compares_with_a_rank_as_the_value_with_the_cut(instructions, cuts, data):
    """Plain Python floats hold every float32 exactly."""
    cuts = sorted(v + 0.0 for v in cuts)
    near = [float(v) for cut in cuts[:3] for v in (np.float32(cut), np.nextafter(np.float32(cut), np.float32(np.inf)))]
    values = data.draw(st.lists(st.one_of(floats, st.sampled_from([*cuts, *near, 0.0, -0.0])), min_size=1, max_size=20))
    table = one_column(cuts)
    for rows in BATCHES:
        x = np.resize(np.array(values, np.float32), rows)[:, None]
        with instruction_set(instructions):
            bins = bin_features(table, x)[0]
        for value, found in zip(x[:, 0].tolist(), bins.tolist(), strict=True):
            assert found == sum(cut <= value for cut in cuts)
            assert all((value < cut) == (found <= rank) for rank, cut in enumerate(cuts))


@each_instruction_set
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 253, 254])
def test_every_number_of_cuts(instructions, count):
    cuts = np.arange(count, dtype=np.float32)
    x = np.concatenate([cuts, cuts - 0.5, [np.inf, -np.inf, np.nan, 1e9]]).astype(np.float32)[:, None]
    expected = np.where(np.isnan(x[:, 0]), MISSING, np.searchsorted(cuts, x[:, 0], side="right"))
    with instruction_set(instructions):
        np.testing.assert_array_equal(bin_features(one_column(list(cuts)), x)[0], expected)
        for row, bin_of_row in zip(x, expected, strict=True):
            assert bin_features(one_column(list(cuts)), row[None])[0, 0] == bin_of_row


@each_instruction_set
@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("op", list(Arithmetic))
def test_derived_columns_are_rounded_once_each(instructions, op, rows):
    rng = np.random.default_rng(int(op))
    pool = np.array([0.0, -0.0, 1.0, 3.0, np.inf, -np.inf, np.nan, 1e-45, 3e38, 1e-20], np.float32)
    x = np.where(rng.random((rows, 2)) < 0.5, rng.choice(pool, (rows, 2)), rng.normal(size=(rows, 2))).astype(np.float32)
    with np.errstate(all="ignore"):
        a, b = x.T
        value = [a + b, a - b, a * b, a / b, np.where(np.isnan(a + 0 * b), np.nan, np.sign(a - b))][op]
        if op == Arithmetic.ORDER:
            value = np.where(np.isnan(a) | np.isnan(b), np.nan, (a > b) * 1.0 - (a < b) * 1.0)
    cuts = [-1.0, 0.0, 0.5, 1.0, 2.0]
    with instruction_set(instructions):
        bins = bin_features(one_column(cuts, ((int(op), 0, 1, 0, 0),), features=2), x)[0]
    expected = np.where(np.isnan(value), MISSING, np.searchsorted(cuts, value.astype(np.float32), side="right"))
    np.testing.assert_array_equal(bins, expected)


@each_instruction_set
def test_a_product_and_a_sum_are_two_roundings(instructions):
    """A fused multiply-add would give another last bit, and another bin."""
    a = np.float32(1 + 2**-12)
    rounded = np.float32(a * a)
    assert float(a) * float(a) != float(rounded)
    steps = [(int(Arithmetic.MULTIPLY), 0, 0, 0, 0), (int(Arithmetic.SUBTRACT), 1, -1, 0, rounded)]
    table = CutTable(np.array([1e-45], np.float32), np.array([0, 1]), np.array([2]), 1, 0, np.array(steps, DERIVATION))
    with instruction_set(instructions):
        for rows in BATCHES:
            assert not bin_features(table, np.full((rows, 1), a, np.float32)).any(), "exactly zero, which is below the cut"


@pytest.mark.parametrize("rows", BATCHES)
def test_lists_are_the_last_columns(rows):
    table = CutTable(np.zeros(1, np.float32), np.array([0, 1]), np.array([0]), 1, 2)
    lists = np.random.default_rng(0).random((rows, 2)) < 0.5
    np.testing.assert_array_equal(bin_features(table, np.zeros((rows, 1), np.float32), lists)[1:], lists.T)
    assert not bin_features(table, np.zeros((rows, 1), np.float32))[1:].any()
    np.testing.assert_array_equal(reference.bin_features(table, np.zeros((rows, 1), np.float32), lists)[1:], lists.T)
