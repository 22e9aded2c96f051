"""From the dense net in float32 to the sparse one in integers: pruned and quantised while it trains on.

The dense net teaches: what the finished one loses is what it cannot say with the weights that are left, and not what a few
frauds happened to tell. Pruning comes first, step by step; the rounding of the integers joins when the steps of the
activations can be measured on a net that is nearly as sparse as it will be.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from inference_core.modalities.losses import LossWeights, training_loss
from inference_core.modalities.tabular import TabularNet
from inference_core.modalities.training import NetRows, NetTraining, OnStep, Stepper, activity
from inference_core.sparsity import GradualPruner, PruningSchedule, distillation_loss

_CALIBRATION_ROWS = 8192


@dataclass(frozen=True)
class FinishingPlan:
    """Attributes:
    epochs: passes over the rows.
    sparsity: share of zeros in the first layer's increments and the hidden weights in the end; 0 prunes nothing.
    pruned_by: share of the steps after which that sparsity is reached.
    quantised_from: share of the steps after which numbers are rounded as the integers are; 1 leaves the net in float32.
    learning_rate: of the first step; it falls to zero along a cosine.
    distillation: share of the dense net's opinion in the loss; the rest are the labels.
    temperature: of the distillation.
    activity: weight of the mean activation in the loss.
    """

    epochs: int = 6
    sparsity: float = 0.92
    pruned_by: float = 0.6
    quantised_from: float = 0.5
    learning_rate: float = 1e-3
    distillation: float = 0.7
    temperature: float = 1.0
    activity: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1 or not 0 < self.pruned_by <= 1 or not 0 <= self.quantised_from <= 1:
            raise ValueError(f"sparsity, pruned_by and quantised_from are shares, sparsity below 1; got {self}")


def finish(net: TabularNet, fit: NetRows, plan: FinishingPlan, training: NetTraining, *, on_step: OnStep = lambda: None) -> float:
    """Prune and quantise the net in place, and return the seconds; it is calibrated at the end in any case.

    Args:
        training: batches, weight decay, loss and seed are taken from it.
    """
    started = time.monotonic()
    teacher = copy.deepcopy(net)
    training = replace(training, learning_rate=plan.learning_rate, seed=training.seed + 1)
    stepper = Stepper(net, training)
    per_epoch = max(1, len(fit.labels) // min(training.batch_rows, len(fit.labels)))
    last = plan.epochs * per_epoch
    pruner = _pruner(net, plan, last)
    quantise_at = math.ceil(plan.quantised_from * last) if plan.quantised_from < 1 else last + 1
    loss_of = _loss(teacher, plan, training.loss)
    step = 0
    for _ in range(plan.epochs):
        for bins, labels, weights in stepper.batches(fit):
            if step == quantise_at:
                net.calibrate(bins_of(fit, net))
            quantised = step >= quantise_at
            logits, given = net(bins, quantised=quantised, generator=stepper.dropout)
            loss = loss_of(bins, logits.float(), labels, weights)
            stepper.step(loss + _activity(net, given, plan, quantised))
            pruner.step(step)
            step += 1
            _set_rate(stepper.optimizer, plan.learning_rate * (1 + math.cos(math.pi * step / last)) / 2)
            on_step()
    if quantise_at > last:
        net.calibrate(bins_of(fit, net))
    return time.monotonic() - started


def prunable(net: TabularNet) -> dict[str, torch.nn.Parameter]:
    """Return what is pruned: nearly all of the parameters; members' biases, scales and heads stay whole."""
    return {"increments": net.increments, **{f"hidden{i}": weight for i, weight in enumerate(net.weights)}}


def bins_of(rows: NetRows, net: TabularNet) -> torch.Tensor:
    """Return bins of a sample of the rows, spread over all of them, on the net's device."""
    spread = max(1, len(rows.bins) // _CALIBRATION_ROWS)
    return torch.from_numpy(rows.bins[::spread][:_CALIBRATION_ROWS]).to(net.increments.device)


def _pruner(net: TabularNet, plan: FinishingPlan, last: int) -> GradualPruner:
    reached = max(1, round(plan.pruned_by * last))
    return GradualPruner(net, PruningSchedule(0, reached, plan.sparsity), weights=prunable(net))


def _loss(teacher: TabularNet, plan: FinishingPlan, weights: LossWeights) -> Callable[..., torch.Tensor]:
    """Return (bins, logits, labels, row weights) -> loss."""

    def loss_of(bins: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        hard = training_loss(logits, labels, rows, weights)
        if not plan.distillation:
            return hard
        with torch.no_grad():
            told = teacher(bins)[0].mean(1, keepdim=True).expand_as(logits)
        soft = distillation_loss(logits, told, torch.sigmoid(told), temperature=plan.temperature, share=1.0)
        return (1 - plan.distillation) * hard + plan.distillation * soft

    return loss_of


def _activity(net: TabularNet, given: list[torch.Tensor], plan: FinishingPlan, quantised: bool) -> torch.Tensor | float:
    """Return the weighted mean activation, in the same unit whether rounded or not."""
    if not plan.activity:
        return 0.0
    if quantised:
        given = [of * step for of, step in zip(given, net.steps, strict=True)]
    return activity(given, LossWeights(activity=plan.activity))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
