"""The parts of the sparse benchmark that need no GPU: its weights, what it counts, and its tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.benchmarks.sparse import residual_net, single_row
from tests.benchmarks.sparse.weights import random_blocks


@pytest.mark.parametrize("int8", [False, True])
def test_random_blocks_have_exactly_the_share_that_was_asked_for(int8):
    weight = random_blocks(512, 512, 0.75, (128, 64), int8=int8)
    assert weight.density == 0.25 and weight.values.dtype == (np.int8 if int8 else np.float32)
    dense = weight.dense().reshape(4, 128, 8, 64)
    assert dense.any(axis=(1, 3)).sum() == 8


def test_a_net_counts_its_operations_and_its_zeros(monkeypatch):
    monkeypatch.setattr(residual_net, "GPU", "cpu")
    kind = residual_net.Kind("small", (128, 256), (1, 3), 0.5, 1)
    net = residual_net.random_net(kind)
    inner = [128 * 64, 64 * 128 * 9], [256 * 128, 128 * 256 * 9]
    expected = 128 * 3 * 64 * 28**2 + 256 * 128 * 4 * 14**2 + 1_000 * 256 + sum(inner[0]) * 28**2 + sum(inner[1]) * 14**2
    assert net.flops(3) == 2 * 3 * expected
    assert net.zeros() == 0
    pruned = net.pruned(0.5)
    weights = sum(map(sum, inner)) + 128 * 3 * 64 + 256 * 128 * 4 + 1_000 * 256
    # One of the two blocks of the smallest convolution, half of the others.
    assert pruned.zeros() == pytest.approx(sum(map(sum, inner)) / 2 / weights, abs=0.02)


def test_patches_are_the_strided_convolution(monkeypatch):
    monkeypatch.setattr(residual_net, "GPU", "cpu")
    net = residual_net.DenseNet(residual_net.random_net(residual_net.Kind("small", (128, 128), (1,), 1.0, 0)))
    x = torch.randn(2, 3, 16, 24, dtype=torch.bfloat16)
    weight, bias = net.parts[net.patch[0]].float(), net.parts[net.patch[0] + 1].float()
    expected = torch.relu(torch.nn.functional.conv2d(x.float(), weight, bias, stride=8))
    torch.testing.assert_close(net.patches(x, net.patch).float(), expected, rtol=0.02, atol=0.05)


@pytest.mark.needs_compiler
def test_a_row_is_timed_for_every_size_and_peer(monkeypatch):
    monkeypatch.setattr(single_row, "SIZES", (128,))
    lines = single_row.benchmark(0.001)
    assert [line["zeros"] for line in lines] == [None, *single_row.ZEROS]
    assert all(line[name] > 0 for line in lines for name in ("float32_warm", "int8_warm"))
    assert lines[1]["int8_bytes"] < lines[1]["float32_bytes"]
    assert "128 x 128, dense, us: float32_warm" in single_row.table(lines)
    # A peer that is built with -ffast-math has the whole process round subnormal numbers to zero.
    assert np.float32(1e-40) * np.float32(1) > 0


def test_gains_are_told_against_the_fastest_dense_layer():
    dense = {"size": 8, "zeros": None, "float32_warm": 10.0, "torch_float32_warm": 8.0, "int8_warm": 2.0}
    sparse = {"size": 8, "zeros": 0.5, "float32_warm": 4.0, "int8_warm": 4.0}
    assert single_row.table([dense, sparse]).splitlines()[1].split() == [
        "50%", "zeros:", "float32_warm", "4.0", "(2.00", "x)", "int8_warm", "4.0", "(0.50", "x)",
    ]  # fmt: skip
