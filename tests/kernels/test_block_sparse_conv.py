"""The contract of the convolution whose weight is zero in whole blocks; tests/gpu says the same of the Triton kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kernels.block_sparse_conv import block_sparse_conv, pack_conv, reference
from kernels.errors import KernelInputError
from tests.kernels.sparse_samples import block_zeros

BOTH = pytest.mark.parametrize("function", [block_sparse_conv, reference.block_sparse_conv])


def conv_weight(outputs: int, channels: int, size: tuple[int, int], height: int, width: int, zeros: float) -> np.ndarray:
    """Return [outputs, channels, *size] with zeros in blocks of outputs x channels of one place."""
    matrix = block_zeros(outputs, size[0] * size[1] * channels, height, width, zeros)
    return np.ascontiguousarray(matrix.reshape(outputs, *size, channels).transpose(0, 3, 1, 2))


def pictures(count: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("picture", [(1, 1), (1, 4), (5, 3), (7, 7)])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 3), (5, 3)])
@BOTH
def test_the_convolution_is_the_one_of_torch(function, size, picture):
    weight, x = conv_weight(6, 8, size, 3, 4, 0.5), pictures(2, *picture, 8)
    bias, residual = np.arange(6, dtype=np.float32), pictures(2, *picture, 6)
    y = function(x, pack_conv(weight, 3, 4), bias, residual=residual, relu=True)
    channels_first, padding = torch.from_numpy(x).permute(0, 3, 1, 2), (size[0] // 2, size[1] // 2)
    theirs = torch.nn.functional.conv2d(channels_first, torch.from_numpy(weight), torch.from_numpy(bias), padding=padding)
    expected = torch.relu(theirs.permute(0, 2, 3, 1) + torch.from_numpy(residual)).numpy()
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@BOTH
def test_without_bias_residual_and_activation_it_is_the_plain_product(function):
    x = pictures(1, 2, 2, 4)
    y = function(x, pack_conv(-np.eye(4, dtype=np.float32)[:, :, None, None], 2, 2))
    np.testing.assert_array_equal(y, -x)


@BOTH
def test_no_pictures_give_none(function):
    assert function(pictures(0, 3, 3, 4), pack_conv(np.ones((2, 4, 3, 3), np.float32), 2, 4)).shape == (0, 3, 3, 2)


@BOTH
def test_what_is_no_number_stays_within_the_window(function):
    x = np.zeros((1, 5, 5, 1), np.float32)
    x[0, 0, 0] = np.nan
    y = function(x, pack_conv(np.ones((1, 1, 3, 3), np.float32), 1, 1), relu=True)
    assert np.argwhere(np.isnan(y[0, :, :, 0])).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_block_knows_how_far_away_it_reads():
    weight = np.zeros((2, 4, 3, 3), np.float32)
    weight[0, 3, 0, 2] = weight[1, 0, 1, 1] = 1  # up right, and in the middle
    down, right = pack_conv(weight, 1, 2).steps()
    assert (down.tolist(), right.tolist()) == ([-1, 0], [1, 0])


def test_what_does_not_fit_is_refused():
    packed, x = pack_conv(np.ones((2, 4, 3, 3), np.float32), 2, 4), pictures(1, 3, 3, 4)
    for wrong in (x[0], x[..., :3], x.astype(np.float64)):
        with pytest.raises(KernelInputError, match="x must be float32"):
            block_sparse_conv(wrong, packed)
    with pytest.raises(KernelInputError, match="residual must be"):
        block_sparse_conv(x, packed, residual=x)
    for shape in ((2, 4, 2, 3), (2, 4, 3, 2), (2, 5, 3, 3), (2, 4)):
        with pytest.raises(KernelInputError, match="the weight must be"):
            pack_conv(np.ones(shape, np.float32), 2, 4)
