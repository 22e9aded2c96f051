"""The net's totals are the reference's on every instruction set and by every path, for any shape and density."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.net_margin import NetTableLayer, Path, net_totals, net_work, reference
from kernels.net_margin.table import NetTable
from tests.kernels.random_nets import random_bins, random_net_table
from tests.kernels.variants import each_instruction_set, instruction_set
from tests.strategies import examples


@each_instruction_set
@examples(60)
@given(
    rows=st.sampled_from([0, 1, 2, 7, 8, 9, 21, 64, 65, 130]),
    members=st.sampled_from([1, 2, 3, 5, 8, 32]),
    widths=st.sampled_from([(64, 64), (256, 256), (64, 512), (512, 64), (128, 320, 192), (64, 128, 64, 64)]),
    density=st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
    threshold=st.sampled_from([0, 1, 20, 127]),
    seed=st.integers(0, 10_000),
)
def test_every_path_gives_the_bits_of_the_reference(instructions, rows, members, widths, density, threshold, seed):
    rng = np.random.default_rng(seed)
    net = random_net_table(rng, members=members, widths=widths, thresholds=(threshold,) * len(widths), density=density)
    bins = random_bins(rng, net, rows)
    truth = reference.net_totals(net, bins)
    with instruction_set(instructions):
        for path in Path:
            np.testing.assert_array_equal(net_totals(net, bins, path), truth, err_msg=path.name)


def largest(members: int = 2, width: int = 512, sign: int = 1) -> NetTable:
    """A net whose activations are all 127 and whose weights are all at their limit."""
    one, far = np.ones((members, width)), np.full((members, width), 127)
    weight = np.full((width, width), -128 if sign < 0 else 127)
    rank = np.zeros((1, 256))
    rank[0, 255] = 1
    layers = (
        NetTableLayer(None, far, one, 0),
        NetTableLayer(weight, far, one * sign * 1e30, 0),
        NetTableLayer(weight, far, one * sign, 0),
    )
    head = np.full((members, width), -128)
    return NetTable([0, 1], [0], rank, [0, 2], np.zeros((2, width)), layers, head, 1, 1, 0, 1)


@each_instruction_set
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_fit(instructions, sign):
    net, bins = largest(sign=sign), np.array([[0, 255, 7]], np.uint8)
    with instruction_set(instructions):
        for path in Path:
            assert net_totals(net, bins, path).tolist() == [2 * 512 * 127 * -128] * 3


@each_instruction_set
def test_the_work_is_counted(instructions):
    rng = np.random.default_rng(3)
    net = random_net_table(rng, members=4, widths=(256, 128), density=0.1)
    bins = random_bins(rng, net, 50)
    first, _ = reference.activations(net, bins)
    needed = int((first != 0).sum()) * 128
    quads = int(first.reshape(50, 4, 64, 4).any(axis=-1).sum()) * 4 * 128
    with instruction_set(instructions):
        assert net_work(net, bins, Path.QUADS) == (50 * net.macs, needed, quads)
        assert net.macs == 4 * 256 * 128 and needed < quads < 50 * net.macs
    with instruction_set("avx512"):
        assert net_work(net, bins, Path.DENSE).done == 50 * net.macs
        assert net_work(net, bins, Path.UNITS).done == needed
        assert net_work(net, bins).done < 50 * net.macs, "few enough are not zero that some path skips"


def test_a_term_is_rounded_half_up():
    net = random_net_table(np.random.default_rng(0))
    object.__setattr__(net, "multiplier", 3)
    object.__setattr__(net, "shift", 2)
    # 3/4, 6/4, -6/4, and a product beyond 32 bits
    assert net.terms(np.array([1, 2, -2, 2**31 - 1], np.int32)).tolist() == [1, 2, -1, (3 * (2**31 - 1) + 2) // 4]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"column": [9] * 10}, "not there"),
        ({"shift": 0}, "shift"),
        ({"offset": [0, 1, 2, 3, 4, 10_000]}, "offset"),
        ({"head": np.zeros((3, 64))}, "head"),
        ({"reads": [0, 0, 1, 2, 3, 4]}, "at least one bin column"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changes, said):
    net = random_net_table(np.random.default_rng(0))
    parts = {name: getattr(net, name) for name in net.__dataclass_fields__} | changes
    if "column" in changes:
        parts["column"] = np.full(len(net.column), 9)
    with pytest.raises(KernelInputError, match=said):
        NetTable(**parts)


def test_sums_that_float32_cannot_hold_are_refused():
    with pytest.raises(KernelInputError, match="2\\*\\*24"):
        NetTableLayer(np.zeros((64, 64)), np.full((1, 64), 1 << 24), np.ones((1, 64)), 0)


def test_bins_that_do_not_fit_are_refused():
    net = random_net_table(np.random.default_rng(0))
    with pytest.raises(KernelInputError, match="at least 9, B"):
        net_totals(net, np.zeros((8, 3), np.uint8))
