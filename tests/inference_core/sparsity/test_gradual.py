"""Pruning while a net trains: schedule, importance, regrowth, and that a pruned net still learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inference_core.sparsity import (
    Blocks,
    GradualPruner,
    Importance,
    PruningSchedule,
    Regrowth,
    TwoOfFour,
    dynamic_pruning,
    sparsity_of,
)
from inference_core.sparsity.regrowth import exchange

SCHEDULE = PruningSchedule(first_step=2, last_step=22, final_sparsity=0.8, every=5)


def trained(steps: int = 30, seed: int = 0, **options) -> tuple[GradualPruner, nn.Module, list[float]]:
    """Return the pruner and the net after some steps on a line that half of the inputs do not matter for, and the losses."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    pruner = GradualPruner(net, SCHEDULE, **options)
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=0.02), []
    for step in range(steps):
        x = torch.randn(64, 16)
        loss = (net(x) - x[:, :8]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pruner.step(step)
        losses.append(loss.item())
    return pruner, net, losses


def test_the_curve_is_cubic_and_flat_outside():
    assert [SCHEDULE.sparsity_at(step) for step in (0, 1, 2, 12, 22, 99)] == pytest.approx([0, 0, 0, 0.8 * (1 - 0.125), 0.8, 0.8])
    assert PruningSchedule(0, 10, 0.9, 0.5).sparsity_at(0) == 0.5


def test_weights_are_chosen_at_first_and_last_step_and_every_few_between():
    assert [step for step in range(40) if SCHEDULE.chooses_at(step)] == [2, 7, 12, 17, 22]
    assert [step for step in range(40) if PruningSchedule(0, 7, 0.5, every=5).chooses_at(step)] == [0, 5, 7]


@pytest.mark.parametrize(
    "wrong", [(5, 5, 0.5), (-1, 5, 0.5), (0, 5, 1.0), (0, 5, 0.5, 0.6), (0, 5, 0.5, 0.0, 0)], ids=str
)
def test_a_schedule_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="must satisfy"):
        PruningSchedule(*wrong)


@pytest.mark.parametrize("importance", Importance)
def test_every_layer_ends_with_the_final_share_and_its_zeros_stay(importance):
    pruner, net, losses = trained(importance=importance)
    for name in ("0.weight", "2.weight"):
        assert sparsity_of(pruner.weights[name]) == pytest.approx(0.8, abs=0.005)
        assert not pruner.weights[name][~pruner.masks[name]].any()
    assert pruner.sparsity() == pytest.approx(0.8, abs=0.005)
    assert losses[-1] < losses[0]


def test_each_layer_has_a_threshold_of_its_own_that_prunes_it_the_same():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 10))
    net[1].weight.data *= 50
    before = {"0.weight": net[0].weight.detach().clone(), "1.weight": net[1].weight.detach().clone()}
    pruner = GradualPruner(net, PruningSchedule(0, 1, 0.7))
    pruner.step(1)
    assert pruner.thresholds["1.weight"] > 10 * pruner.thresholds["0.weight"]
    for name, weight in before.items():
        pruned, sparsity = dynamic_pruning(weight, pruner.thresholds[name])
        assert torch.equal(pruned, pruner.weights[name]) and sparsity == pytest.approx(0.7)


def test_masks_are_nested_without_regrowth():
    torch.manual_seed(0)
    net, previous = nn.Linear(20, 20), None
    pruner = GradualPruner(net, SCHEDULE)
    for step in range(30):
        net.weight.data += torch.randn(20, 20)
        pruner.step(step)
        mask = pruner.masks["weight"]
        assert previous is None or not (mask & ~previous).any()
        previous = mask


@pytest.mark.parametrize("scheme", [TwoOfFour(), Blocks(4, 4), Blocks(4, 8, balanced=True)])
def test_a_pattern_holds_when_training_is_over(scheme):
    pruner, _, _ = trained(scheme=scheme)
    assert all(scheme.allows(weight.detach()) for weight in pruner.weights.values())


def test_inputs_that_are_large_keep_their_weights():
    torch.manual_seed(0)
    net = nn.Linear(4, 50)
    pruner = GradualPruner(net, PruningSchedule(0, 1, 0.5), importance=Importance.INPUT_SCALED)
    net(torch.randn(100, 4) * torch.tensor([100.0, 100.0, 0.01, 0.01]))
    pruner.step(1)
    assert (net.weight != 0).float().mean(0).tolist() == [1, 1, 0, 0]
    pruner.close()
    assert not net._forward_pre_hooks


def test_inputs_of_a_grouped_convolution_are_told_apart():
    net = nn.Conv2d(4, 6, 3, groups=2)
    pruner = GradualPruner(net, PruningSchedule(0, 1, 0.5), importance=Importance.INPUT_SCALED)
    net(torch.randn(10, 4, 5, 5) * torch.tensor([9e3, 1e-3, 1e-3, 9e3])[:, None, None])
    pruner.step(1)
    assert (net.weight[:3] != 0).float().mean((0, 2, 3)).tolist() == [1, 0]
    assert (net.weight[3:] != 0).float().mean((0, 2, 3)).tolist() == [0, 1]


def test_a_weight_that_the_loss_does_not_feel_goes_first():
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[5.0, 0.1]])
    pruner = GradualPruner(net, PruningSchedule(0, 1, 0.5), importance=Importance.GRADIENT)
    net(torch.tensor([[0.0, 1.0]])).sum().backward()
    pruner.step(1)
    assert net.weight.tolist() == [[0.0, pytest.approx(0.1)]]


def test_an_exchange_drops_the_weakest_and_takes_what_the_loss_asks_for():
    keep = torch.tensor([True, True, True, False, False, False])
    weight, gradient = torch.tensor([3.0, 0.1, 2.0, 0, 0, 0]), torch.tensor([9.0, 9.0, 9.0, 0.1, -5.0, 1.0])
    assert exchange(keep, weight.abs(), gradient, 0.34).tolist() == [True, False, True, False, True, False]
    assert exchange(keep, weight.abs(), gradient, 0.1) is keep  # less than one weight
    assert exchange(torch.ones(3, dtype=torch.bool), weight[:3], gradient[:3], 0.5).all()  # nothing to take


def test_regrowth_keeps_the_share_and_what_comes_back_begins_at_zero_and_learns():
    pruner, _, _ = trained(steps=24)
    torch.manual_seed(1)
    before = {name: mask.clone() for name, mask in pruner.masks.items()}
    pruner._regrowth = Regrowth(last_step=90, share=0.5, every=10)
    for weight in pruner.weights.values():
        weight.grad = torch.randn_like(weight)
    pruner.step(30)
    for name, mask in pruner.masks.items():
        came = mask & ~before[name]
        assert came.any() and mask.sum() == before[name].sum()
        assert not pruner.weights[name][came].any()
        pruner.weights[name].data += 1.0
    pruner.step(31)
    assert all((pruner.weights[name] != 0).equal(mask) for name, mask in pruner.masks.items())


def test_a_pattern_is_not_broken_by_regrowth():
    pruner, _, _ = trained(scheme=Blocks(4, 4), regrowth=Regrowth(last_step=40, every=3))
    assert all(Blocks(4, 4).allows(weight.detach()) for weight in pruner.weights.values())


def test_exchanges_fade_along_a_cosine():
    regrowth = Regrowth(last_step=100, share=0.4, every=25)
    assert [step for step in range(200) if regrowth.exchanges_at(step)] == [25, 50, 75, 100]
    assert [regrowth.share_at(step) for step in (0, 50, 100)] == pytest.approx([0.4, 0.2, 0.0])
    with pytest.raises(ValueError, match="share must lie between"):
        Regrowth(last_step=10, share=1.0)


def test_what_cannot_be_pruned_is_refused():
    with pytest.raises(ValueError, match="nothing to prune"):
        GradualPruner(nn.ReLU(), SCHEDULE)
    net = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="is no such weight"):
        GradualPruner(net, SCHEDULE, importance=Importance.INPUT_SCALED, weights={"bias": net.bias})


def test_training_twice_gives_the_same_bits():
    (first, _, _), (second, _, _) = trained(seed=3), trained(seed=3)
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
