"""The contract of the layer whose weight has zeros anywhere, for single rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bitmap_gemv import BitmapWeight, bitmap_gemv, pack_bitmap, reference
from kernels.errors import KernelInputError
from tests.kernels.sparse_samples import as_int8, float_rows, int8_rows, scattered_zeros, vectors
from tests.kernels.variants import each_instruction_set, instruction_set
from tests.strategies import examples

SHAPES = [(1, 1), (3, 5), (4, 64), (5, 65), (9, 200), (17, 640)]
BOTH = pytest.mark.parametrize("function", [bitmap_gemv, reference.bitmap_gemv])


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_instruction_set
def test_every_instruction_set_gives_what_the_reference_gives(instructions, shape, zeros):
    weight = scattered_zeros(*shape, zeros)
    scale, bias = vectors(shape[0])
    with instruction_set(instructions):
        x = float_rows(3, shape[1])
        given_, expected = (of(x, pack_bitmap(weight), bias, relu=True) for of in (bitmap_gemv, reference.bitmap_gemv))
        np.testing.assert_allclose(given_, expected, rtol=1e-5, atol=1e-4)
        x = int8_rows(3, shape[1])
        packed = pack_bitmap(as_int8(weight))
        given_, expected = (of(x, packed, bias, scale=scale) for of in (bitmap_gemv, reference.bitmap_gemv))
        np.testing.assert_array_equal(given_, expected)


@examples(40)
@given(st.integers(1, 9), st.integers(1, 150), st.floats(0, 1), st.integers(0, 99))
def test_packing_loses_nothing(outputs, inputs, zeros, seed):
    weight = scattered_zeros(outputs, inputs, zeros, seed)
    for of in (weight, as_int8(weight)):
        packed = pack_bitmap(of)
        assert packed.dense().dtype == of.dtype
        np.testing.assert_array_equal(packed.dense(), of)
        assert packed.starts.tolist() == np.cumsum([0, *np.count_nonzero(of, axis=1)])[:-1].tolist()


@each_instruction_set
def test_sums_of_the_largest_bytes_do_not_overflow(instructions):
    inputs = 65_536
    x, weight = np.full((1, inputs), -128, np.int8), np.full((2, inputs), -128, np.int8)
    weight[1] = 127
    with instruction_set(instructions):
        y = bitmap_gemv(x, pack_bitmap(weight), scale=np.ones(2, np.float32))
    assert y.tolist() == [[128.0 * 128 * inputs, -128.0 * 127 * inputs]]


@BOTH
def test_a_zero_ignores_its_input_and_a_weight_does_not(function):
    packed = pack_bitmap(np.array([[0, 2.0], [1.0, 0], [0, 0]], np.float32))
    y = function(np.array([[np.nan, np.inf]], np.float32), packed)
    assert y[0, 0] == np.inf and np.isnan(y[0, 1]) and y[0, 2] == 0


@each_instruction_set
def test_no_instruction_set_lets_an_ignored_input_through(instructions):
    weight = scattered_zeros(8, 130, 0.5)
    weight[:, 77] = 0
    x = float_rows(1, 130)
    x[0, 77] = np.nan
    with instruction_set(instructions):
        assert np.isfinite(bitmap_gemv(x, pack_bitmap(weight))).all()


@BOTH
def test_relu_keeps_what_is_no_number(function):
    packed = pack_bitmap(np.array([[np.nan], [-1.0], [1.0]], np.float32))
    y = function(np.ones((1, 1), np.float32), packed, relu=True)
    assert np.isnan(y[0, 0]) and y[0, 1:].tolist() == [0, 1]


def test_bytes_are_a_bit_a_place_and_the_values():
    packed = pack_bitmap(scattered_zeros(256, 512, 0.75))
    values = np.count_nonzero(packed.dense())
    assert packed.bytes == 256 * 512 // 8 + 4 * (values + 64) + 8 * 256


def test_what_does_not_fit_is_refused():
    packed, x = pack_bitmap(np.ones((2, 3), np.float32)), np.ones((1, 3), np.float32)
    whole = pack_bitmap(np.ones((2, 3), np.int8))
    strided = np.ones((3, 6), np.float32)[:, ::2]
    for arguments in (
        (x.astype(np.float64), packed), (x[:, :2].copy(), packed), (x[0], packed), (strided, packed),
        (x.astype(np.int8), packed), (x, packed, np.ones(3, np.float32)), (x.astype(np.int8), whole),
    ):  # fmt: skip
        with pytest.raises(KernelInputError):
            bitmap_gemv(*arguments)
    with pytest.raises(KernelInputError, match="float32 takes none"):
        bitmap_gemv(x, packed, scale=np.ones(2, np.float32))
    for weight in (np.ones(3, np.float32), np.ones((2, 3)), np.ones((1, 65_537), np.int8)):
        with pytest.raises(KernelInputError, match="the weight must be"):
            pack_bitmap(weight)


def test_a_weight_without_outputs_gives_none():
    empty = pack_bitmap(np.ones((0, 3), np.float32))
    assert isinstance(empty, BitmapWeight) and bitmap_gemv(np.ones((2, 3), np.float32), empty).shape == (2, 0)
