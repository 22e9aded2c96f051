"""Edges come from the forest, bins count them, and the net's first layer is linear in the piecewise-linear encoding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference_core.compiler.ir import Tree
from inference_core.modalities import BinEncoding, TabularNet, choose_edges, encoding_of_forest
from tests.inference_core.modalities.small import ENCODING, SHAPE, rows_of


def stump(feature: int, threshold: float, gap: float) -> Tree:
    """One cut that moves its two children `gap` apart."""
    return Tree(
        0, np.array([feature, -1, -1], np.int32), np.array([threshold, 0, 0], np.float32), np.zeros(3, bool),
        np.array([1, 1, 2], np.int32), np.array([0, -gap / 2, gap / 2]), np.array([2.0, 1.0, 1.0]), 1,
    )  # fmt: skip


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=200), st.integers(4, 48))
def test_chosen_edges_are_thresholds_ascending_and_few(thresholds, most):
    edges = choose_edges(np.array(thresholds, np.float32), np.ones(len(thresholds)), most)
    assert len(edges) <= most and (np.diff(edges) > 0).all()
    assert set(edges.tolist()) <= {float(np.float32(of)) + 0.0 for of in thresholds}


def test_the_strongest_cuts_are_kept_exactly():
    thresholds, gains = np.arange(1000, dtype=np.float32), np.ones(1000)
    gains[[17, 903]] = 1e6
    assert {17.0, 903.0} <= set(choose_edges(thresholds, gains, 20).tolist())


def test_a_features_edges_are_the_forests_and_uncut_features_are_left_out():
    x = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    encoding = encoding_of_forest([stump(0, 0.25, 1.0), stump(2, -1.0, 1.0)], ("a", "b", "c"), x)
    assert encoding.feature_names == ("a", "c")
    assert np.float32(0.25) in encoding.edges[0] and np.float32(-1.0) in encoding.edges[1]


def test_events_of_a_sequence_share_their_edges_also_where_the_forest_cuts_none():
    names = ("a", "card_last0_amount", "card_last1_amount", "card_last0_same")
    x = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    x[:, 3] = np.nan
    encoding = encoding_of_forest([stump(0, 0.0, 1.0), stump(2, 0.75, 1.0)], names, x)
    assert encoding.feature_names == ("a", "card_last0_amount", "card_last1_amount")  # of `same` nothing is known
    np.testing.assert_array_equal(encoding.edges[1], encoding.edges[2])
    assert np.float32(0.75) in encoding.edges[1]
    encoder, position, positions = encoding.sharing
    assert encoder[1] == encoder[2] != encoder[0] and position.tolist() == [0, 1, 2] and positions == 2


def test_a_forest_without_cuts_encodes_nothing():
    with pytest.raises(ValueError, match="cuts no feature"):
        encoding_of_forest([], ("a",), np.zeros((3, 1), np.float32))


def test_bins_count_edges_at_or_below_the_value():
    encoding = BinEncoding(("a", "b"), (np.array([0.0, 1.0], np.float32), np.array([5.0], np.float32)))
    below_one = np.nextafter(np.float32(1), np.float32(0))
    x = np.array([[-1, 4], [0, 5], [below_one, np.inf], [1, -np.inf], [np.nan, np.nan]], np.float32)
    assert encoding.bins(x).tolist() == [[0, 0], [1, 1], [1, 1], [2, 0], [3, 3]]


def test_the_first_layer_is_linear_in_the_piecewise_linear_encoding():
    """Gorishniy et al. 2022, with each bin represented by its lower edge: a component is 1 from its edge on, else 0."""
    x, _ = rows_of(400, 1)
    net = TabularNet(ENCODING, SHAPE, 1)
    parts = []
    for f, edges in enumerate(ENCODING.edges):
        known = ~np.isnan(x[:, f])
        parts += [known[:, None] & (np.nan_to_num(x[:, f])[:, None] >= edges), ~known[:, None]]
    expected = np.concatenate(parts, 1)
    encoded = net.encoded(torch.from_numpy(ENCODING.bins(x)))
    np.testing.assert_array_equal(encoded.numpy(), expected)


def test_events_of_a_sequence_share_one_encoder_scaled_by_position():
    net = TabularNet(ENCODING, SHAPE, 1)
    with torch.no_grad():
        net.position[1] = 2.0  # the second event of the amounts
    rows = net.expanded_increments().detach()
    starts = np.cumsum([0, *(len(of) + 1 for of in ENCODING.edges)])
    first, second = rows[starts[3] : starts[4]], rows[starts[4] : starts[5]]
    torch.testing.assert_close(second, 2 * first)
