"""The contract of the layer whose weight is zero in whole blocks; tests/gpu says the same of the Triton kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.block_sparse_linear import block_sparse_linear, pack_blocks, reference
from kernels.errors import KernelInputError
from tests.kernels.sparse_samples import as_int8, block_zeros, float_rows, int8_rows, vectors
from tests.kernels.variants import each_instruction_set, instruction_set
from tests.strategies import examples

# outputs, inputs, height, width
SHAPES = [(1, 1, 1, 1), (3, 5, 2, 3), (8, 64, 4, 16), (17, 40, 16, 32), (64, 70, 64, 64), (10, 33, 3, 20)]
BOTH = pytest.mark.parametrize("function", [block_sparse_linear, reference.block_sparse_linear])


@pytest.mark.parametrize("zeros", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_instruction_set
def test_every_instruction_set_gives_what_the_reference_gives(instructions, shape, zeros):
    outputs, inputs, *block = shape
    weight = block_zeros(*shape, zeros)
    scale, bias = vectors(outputs)
    with instruction_set(instructions):
        x, packed = float_rows(3, inputs), pack_blocks(weight, *block)
        results = [of(x, packed, bias, relu=True) for of in (block_sparse_linear, reference.block_sparse_linear)]
        np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)
        x, packed = int8_rows(3, inputs), pack_blocks(as_int8(weight), *block)
        for options in ({}, {"out_scale": 0.05}, {"relu": True, "out_scale": 0.05}):
            results = [of(x, packed, bias, scale=scale, **options) for of in (block_sparse_linear, reference.block_sparse_linear)]
            assert results[0].dtype == results[1].dtype
            np.testing.assert_array_equal(*results)


@BOTH
def test_the_layer_is_the_dense_one(function):
    weight, x, bias = block_zeros(12, 20, 4, 8, 0.5), float_rows(5, 20), vectors(12)[1]
    np.testing.assert_allclose(function(x, pack_blocks(weight, 4, 8), bias), x @ weight.T + bias, rtol=1e-4, atol=1e-5)


@examples(40)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), st.integers(1, 9), st.floats(0, 1))
def test_packing_loses_nothing_and_keeps_no_block_of_zeros(outputs, inputs, height, width, zeros):
    weight = block_zeros(outputs, inputs, height, width, zeros)
    packed = pack_blocks(weight, height, width)
    np.testing.assert_array_equal(packed.dense(), weight)
    assert packed.values.any(axis=(1, 2)).all()
    blocks = -(-outputs // height) * -(-inputs // width)
    assert packed.density == pytest.approx(len(packed.values) / blocks)
    assert packed.bytes == len(packed.values) * (4 * height * width + 4) + 4 * (-(-outputs // height) + 1)


@BOTH
def test_a_block_of_zeros_ignores_its_inputs(function):
    weight = np.ones((4, 8), np.float32)
    weight[:2, 4:] = 0
    x = np.ones((1, 8), np.float32)
    x[0, 5] = np.nan
    assert np.isnan(function(x, pack_blocks(weight, 2, 4))).tolist() == [[False, False, True, True]]


@BOTH
def test_halves_are_rounded_up_and_ends_are_cut_off(function):
    packed = pack_blocks(np.eye(4, dtype=np.int8), 2, 2)
    x = np.array([[1, -1, 127, -128]], np.int8)
    y = function(x, packed, scale=np.full(4, 0.5, np.float32), out_scale=0.25)
    assert y.tolist() == [[2, -2, 127, -127]]
    y = function(x, packed, scale=np.full(4, 0.5, np.float32), out_scale=1.0)
    assert y.tolist() == [[1, 0, 64, -64]]


def test_what_does_not_fit_is_refused():
    packed, x = pack_blocks(np.ones((4, 4), np.float32), 2, 2), np.ones((1, 4), np.float32)
    whole, one = pack_blocks(np.ones((4, 4), np.int8), 2, 2), np.ones(4, np.float32)
    for arguments, options in (
        ((x.astype(np.float64), packed), {}), ((x[:, :3].copy(), packed), {}), ((x, whole), {}), ((x, packed, one[:3]), {}),
        ((x, packed, one * np.nan), {}), ((x, packed, np.ones(8, np.float32)[::2]), {}),
        ((x, packed), {"scale": one}), ((x.astype(np.int8), whole), {}),
        ((x, packed), {"out_scale": 1.0}), ((x.astype(np.int8), whole), {"scale": one, "out_scale": 0.0}),
        ((x.astype(np.int8), whole), {"scale": one * np.inf}),
    ):  # fmt: skip
        with pytest.raises(KernelInputError):
            block_sparse_linear(*arguments, **options)
    for weight, height in ((np.ones((2, 2)), 1), (np.ones(2, np.float32), 1), (np.ones((2, 2), np.float32), 0)):
        with pytest.raises(KernelInputError, match="the weight must be"):
            pack_blocks(weight, height, 1)
