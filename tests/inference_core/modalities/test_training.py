"""Training repeats itself, learns, stops where newer rows say so, and reports its faults."""

import copy

import numpy as np
import pytest
import torch

from inference_core.modalities import LossWeights, NetRows, NetShape, NetTraining, TabularNet, train_net
from inference_core.modalities.losses import ranking_loss, training_loss
from inference_core.modalities.training import Stepper
from scoring.learning.metrics import auc_roc, average_precision
from tests.inference_core.modalities.small import ENCODING, SHAPE, TRAINING, net_rows, rows_of


def trained(seed: int = 3, **changes) -> TabularNet:
    net = TabularNet(ENCODING, SHAPE, seed)
    train_net(net, net_rows(2000, 1), NetTraining(**{**TRAINING.__dict__, "seed": seed, **changes}))
    return net


def equal(a: TabularNet, b: TabularNet) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_equal_seeds_give_equal_nets_whatever_torch_drew_before():
    torch.manual_seed(1)
    first = trained()
    torch.manual_seed(2)
    torch.rand(7)
    assert equal(first, trained())
    assert not equal(first, trained(seed=4))


def test_training_leaves_torchs_own_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trained(epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_net_ranks_unseen_rows():
    x, labels = rows_of(4000, 9)
    assert auc_roc(labels, trained(epochs=10).logits(ENCODING.bins(x))) > 0.95


def test_the_best_epoch_is_kept_and_training_ends_when_patience_does():
    judgements = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    states = []
    net = TabularNet(ENCODING, SHAPE, 3)

    def judge(logits: np.ndarray) -> float:
        states.append(logits)
        return next(judgements)

    x, _ = rows_of(100, 2)
    plan = NetTraining(**{**TRAINING.__dict__, "patience": 2})
    record = train_net(net, net_rows(1000, 1), plan, tune_bins=ENCODING.bins(x), judge=judge)
    assert (record.epochs, record.judged) == (2, [0.1, 0.5, 0.4, 0.3])
    np.testing.assert_array_equal(net.logits(ENCODING.bins(x)), states[1])


def test_without_tune_rows_all_epochs_are_made():
    net = TabularNet(ENCODING, SHAPE, 3)
    assert train_net(net, net_rows(600, 1), TRAINING).epochs == TRAINING.epochs


def test_a_judge_and_its_rows_come_together():
    with pytest.raises(ValueError, match="judge"):
        train_net(TabularNet(ENCODING, SHAPE, 3), net_rows(600, 1), TRAINING, judge=lambda _: 0.0)


def test_on_step_can_stop_the_training():
    def lost() -> None:
        raise RuntimeError("lease lost")

    with pytest.raises(RuntimeError, match="lease lost"):
        train_net(TabularNet(ENCODING, SHAPE, 3), net_rows(600, 1), TRAINING, on_step=lost)


def test_an_epoch_has_all_frauds_and_a_new_share_of_honest_rows_that_weigh_for_the_rest():
    rows = net_rows(4000, 1)
    stepper = Stepper(TabularNet(ENCODING, SHAPE, 3), NetTraining(good_share=0.25, batch_rows=1))
    epochs = [list(stepper.batches(rows)) for _ in range(2)]
    drawn = [np.array([int(of.chosen) for of in epoch]) for epoch in epochs]
    for chosen, epoch in zip(drawn, epochs, strict=True):
        assert set(np.flatnonzero(rows.labels)) <= set(chosen.tolist())
        weight = np.array([float(of.weights) for of in epoch])
        assert set(weight[rows.labels[chosen] == 0]) == {4.0} and set(weight[rows.labels[chosen] == 1]) == {1.0}
    good = [set(of[rows.labels[of] == 0].tolist()) for of in drawn]
    assert 750 < len(good[0]) < 1050 and good[0] != good[1]


def test_members_answer_for_themselves():
    labels, ones = torch.tensor([1.0, 0.0]), torch.ones(2)
    plain = LossWeights(fraud=1.0, ranking=0.0)
    together = training_loss(torch.tensor([[2.0, -2.0], [0.0, 0.0]]), labels, ones, plain)
    alone = [training_loss(torch.tensor([[of], [0.0]]), labels, ones, plain) for of in (2.0, -2.0)]
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2)


def test_the_ranking_loss_is_the_mean_over_pairs_and_nothing_without_pairs():
    logits, labels, weights = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 3.0, 1.0])
    expected = (3 * np.log1p(np.exp(-1.0)) + np.log1p(np.exp(1.0))) / 4
    assert float(ranking_loss(logits, labels, weights)) == pytest.approx(expected, rel=1e-6)
    assert float(ranking_loss(logits, torch.zeros(3), weights)) == 0.0


@pytest.mark.parametrize("shape", [{"width": 100}, {"hidden": ()}, {"members": 0}, {"dropout": 1.0}])
def test_shapes_that_no_kernel_takes_are_refused(shape):
    with pytest.raises(ValueError):
        NetShape(**shape)


def test_rows_must_fit_each_other():
    with pytest.raises(ValueError, match="as many rows"):
        NetRows(np.zeros((3, 2), np.uint8), np.zeros(2), np.ones(3))


def test_the_ensemble_says_more_than_its_first_member():
    net, (x, labels) = trained(epochs=10), rows_of(4000, 9)
    with torch.no_grad():
        each = net(torch.from_numpy(ENCODING.bins(x)))[0].numpy()
    single = [average_precision(labels, each[:, k]) for k in range(SHAPE.members)]
    assert average_precision(labels, each.mean(1)) > np.mean(single)
    assert not equal(net, copy.deepcopy(TabularNet(ENCODING, SHAPE, 3)))
