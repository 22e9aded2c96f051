from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inference_core.errors import ProgramError
from inference_core.net import Blend, NetLayer, QuantisedNet
from inference_core.net.quantised import activate
from inference_core.net.storage import net_from_bytes, net_to_bytes
from tests.inference_core.net.nets import random_net, random_rows


def net(**changes) -> QuantisedNet:
    return replace(random_net(np.random.default_rng(1)), **changes)


def test_one_row_by_hand():
    one = np.zeros((5, 64))
    one[1, 0], one[2, 0], one[4, 0] = 10, 20, 40
    weight = np.zeros((64, 64))
    weight[0, 0] = 3
    bias, scale = np.zeros((2, 64)), np.ones((2, 64))
    bias[1, 0] = 5
    small = QuantisedNet(
        ("a", "b"), (np.array([1.0]), np.zeros(0)), one, bias, scale * 0.5, (NetLayer(weight, bias, scale),), np.ones((2, 64)),
        unit=0.25, base=-1.0,
    )  # fmt: skip
    # a is at its edge, so in bin 1, b is in its only bin: z = 10, so 5 and rint(7.5) = 8; then 15, and 24 + 5
    assert small.logits(np.array([[1.0, 0.0]], np.float32)).tolist() == [(15 + 29) * 0.25 - 1]
    # both missing: z = 20 + 40, so 30 and rint(32.5) = 32; then 90, and 96 + 5
    assert small.totals(np.full((1, 2), np.nan, np.float32)).tolist() == [90 + 101]


def test_an_activation_is_rounded_half_to_even_clamped_and_cut_at_its_threshold():
    sums = np.array([1, 3, 5, -7, 300, 9])
    assert activate(sums, np.float32([0.5]), 0).tolist() == [0, 2, 2, 0, 127, 4]
    assert activate(sums, np.float32([0.5]), 3).tolist() == [0, 0, 0, 0, 127, 4]


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_what_is_stored_comes_back_whole(layers):
    rng = np.random.default_rng(layers)
    given = random_net(rng, widths=(64,) * (layers + 1), thresholds=tuple(range(layers + 1)))
    back = net_from_bytes(net_to_bytes(given))
    x = random_rows(rng, given, 50)
    assert np.array_equal(back.logits(x), given.logits(x)) and back.centre == given.centre
    assert back.feature_names == given.feature_names and [layer.threshold for layer in back.layers] == list(range(1, layers + 1))
    assert net_to_bytes(back) == net_to_bytes(given)


@pytest.mark.parametrize("raw", [b"", b"no net", net_to_bytes(net())[:-1], net_to_bytes(net()).replace(b"unit", b"nuit")])
def test_bytes_that_are_no_net_are_refused(raw):
    with pytest.raises(ProgramError):
        net_from_bytes(raw)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"first": net().first[:-1]}, "a row for each bin"),
        ({"first": net().first.astype(np.int64) * 100}, "int16"),
        ({"head": net().head[:-1]}, "head"),
        ({"first_scale": np.full_like(net().first_scale, np.inf)}, "finite"),
        ({"first_bias": np.full_like(net().first_bias, 1 << 24)}, "exact"),
        ({"edges": (np.zeros(2), *net().edges[1:])}, "ascending"),
        ({"edges": (np.arange(49.0), *net().edges[1:])}, "at most 48"),
        ({"layers": ()}, "hidden layers"),
        ({"layers": (net().layers[0], net().layers[0])}, "a layer after 3 members"),
        ({"first_threshold": 128}, "threshold"),
        ({"unit": 0.0}, "unit"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(ProgramError, match=said):
        net(**changes)


def test_arrays_are_read_only_and_copies():
    given = net()
    with pytest.raises(ValueError, match="read-only"):
        given.first[0, 0] = 1


def test_a_blend_without_the_net_gives_the_forest_both_weights():
    assert Blend(0.75, 0.5).reduced_weight == 1.25
    for wrong in ((-1, 2), (0, 0), (1, float("nan"))):
        with pytest.raises(ProgramError):
            Blend(*wrong)
