"""What is trained in integers is what runs in integers; what is pruned stays pruned; and what all of it costs is bounded."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.modalities import (
    FinishingPlan,
    NetShape,
    TabularNet,
    activation_sparsity,
    calibrate_thresholds,
    declared_drift,
    export_net,
    finish,
    train_net,
)
from inference_core.modalities.finishing import prunable
from inference_core.net.storage import net_from_bytes, net_to_bytes
from inference_core.sparsity import sparsity_of
from scoring.learning.metrics import average_precision
from tests.inference_core.modalities.small import ENCODING, SHAPE, TRAINING, net_rows, rows_of

FIT = net_rows(3000, 1)
X, LABELS = rows_of(1500, 8)
BINS = ENCODING.bins(X)


@pytest.fixture(scope="module")
def dense() -> TabularNet:
    net = TabularNet(ENCODING, SHAPE, 3)
    train_net(net, FIT, replace(TRAINING, epochs=10))
    return net


@pytest.fixture(scope="module")
def finished(dense) -> TabularNet:
    net = copy.deepcopy(dense)
    finish(net, FIT, FinishingPlan(epochs=6, sparsity=0.8, learning_rate=3e-3), TRAINING)
    return net


def test_pruned_weights_are_zero_and_as_many_as_asked(finished):
    for name, weight in prunable(finished).items():
        assert sparsity_of(weight) == pytest.approx(0.8, abs=0.01), name


def test_the_finished_net_still_ranks(dense, finished):
    before, after = (average_precision(LABELS, of) for of in (dense.logits(BINS), finished.logits(BINS, quantised=True)))
    assert after > 0.95 * before


def test_finishing_twice_gives_the_same_net(dense, finished):
    net = copy.deepcopy(dense)
    finish(net, FIT, FinishingPlan(epochs=6, sparsity=0.8, learning_rate=3e-3), TRAINING)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), finished.parameters(), strict=True))


def test_fake_quantisation_is_the_integer_net_bit_for_bit(finished):
    exported = export_net(finished)
    expected = exported.activations(X)
    with torch.no_grad():
        logits, given_ = finished(torch.from_numpy(BINS), quantised=True)
    for layer, of in zip(expected, given_, strict=True):
        np.testing.assert_array_equal(layer, of.numpy().transpose(1, 0, 2))
    totals = (logits.mean(1).numpy() - exported.base) / exported.unit
    np.testing.assert_array_equal(np.rint(totals), exported.totals(X))
    np.testing.assert_allclose(totals, np.rint(totals), atol=1e-2)


def test_thresholds_are_part_of_the_exported_function(finished):
    net = copy.deepcopy(finished)
    net.thresholds[:] = torch.tensor([9.0, 5.0])
    exported = export_net(net)
    assert (exported.first_threshold, exported.layers[0].threshold) == (9, 5)
    np.testing.assert_allclose(exported.logits(X), net.logits(BINS, quantised=True), atol=1e-9)
    assert (net.logits(BINS, quantised=True) != finished.logits(BINS, quantised=True)).any()


def test_an_exported_net_comes_back_from_its_bytes(finished):
    exported = export_net(finished, BINS[:100])
    again = net_from_bytes(net_to_bytes(exported))
    np.testing.assert_array_equal(again.totals(X), exported.totals(X))
    assert again.centre == exported.centre == round(exported.totals(X[:100]).mean())


def test_a_net_that_was_never_calibrated_is_not_exported(dense):
    with pytest.raises(ValueError, match="calibrated"):
        export_net(dense)


def test_thresholds_rise_only_as_far_as_the_judgement_allows(finished):
    def judge(logits: np.ndarray) -> float:
        return average_precision(LABELS, logits)

    net = copy.deepcopy(finished)
    before, sparsity_before = judge(net.logits(BINS, quantised=True)), activation_sparsity(net, BINS)
    after = calibrate_thresholds(net, BINS, judge, allowed=0.01)
    assert after >= 0.99 * before and float(net.thresholds.max()) > 0
    assert activation_sparsity(net, BINS).multiplications > sparsity_before.multiplications
    calibrate_thresholds(net, BINS, lambda logits: -float(np.abs(logits - finished.logits(BINS, quantised=True)).max()), 0.0)
    assert float(net.thresholds.max()) <= 1  # nothing may change, so that only cuts without effect are left


def test_skipped_work_is_counted_by_inputs_and_by_groups_of_four(finished):
    with torch.no_grad():
        first, last = finished(torch.from_numpy(BINS), quantised=True)[1]
    told = activation_sparsity(finished, BINS)
    work = np.array([64 * 64, 64])
    zeros = np.array([(of == 0).double().mean() for of in (first, last)])
    assert told.multiplications == pytest.approx((zeros * work).sum() / work.sum())
    assert told.quads <= told.multiplications


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1000), width=st.sampled_from([64, 128]), members=st.integers(1, 5), layers=st.integers(1, 3),
    sparsity=st.sampled_from([0.0, 0.5, 0.9]), scale=st.floats(0.05, 4.0),
)  # fmt: skip
def test_a_pruned_quantised_exported_net_stays_within_its_declared_drift(seed, width, members, layers, sparsity, scale):
    net = TabularNet(ENCODING, NetShape(width, (64,) * layers, members, 0.0), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in prunable(net).values():
            weight *= scale ** (1 / layers) * (torch.rand(weight.shape, generator=generator) >= sparsity)
    net.calibrate(torch.from_numpy(BINS), share=1.0)
    exact, allowed = net.logits(BINS), declared_drift(net, BINS) + 1e-5
    assert (np.abs(export_net(net).logits(X) - exact) <= allowed).all()
    with torch.no_grad():
        net.head.mul_(-1)  # another net: its bound must not reach so far
    if exact.std() > allowed.max():
        assert not (np.abs(export_net(net).logits(X) - exact) <= allowed).all()


def test_a_finished_net_drifts_far_less_than_its_ranking_spreads(finished):
    exact, rounded = finished.logits(BINS), finished.logits(BINS, quantised=True)
    assert np.abs(rounded - exact).mean() < 0.02 * exact.std()
