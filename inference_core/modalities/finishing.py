"""From the dense net in float32 to the sparse one in integers: pruned and quantised while it trains on.

The dense net teaches: what the finished one loses is what it cannot say with the weights that are left, and not what a few
frauds happened to tell. Pruning comes first, step by step; the rounding of the integers joins when the steps of the
activations can be measured on a net that is nearly as sparse as it will be.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, replace

import torch

from inference_core.modalities.losses import LossWeights, training_loss
from inference_core.modalities.tabular import TabularNet
from inference_core.modalities.training import Batch, NetRows, NetTraining, OnStep, Stepper, activity
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
    last = plan.epochs * stepper.steps_of(fit)
    pruner = _pruner(net, plan, last)
    quantise_at = math.ceil(plan.quantised_from * last) if plan.quantised_from < 1 else last + 1
    told = _told(teacher, fit) if plan.distillation else None
    step = 0
    for _ in range(plan.epochs):
        for batch in stepper.batches(fit):
            if step == quantise_at:
                net.calibrate(bins_of(fit, net))
            quantised = step >= quantise_at
            logits, given = net(batch.bins, quantised=quantised, generator=stepper.dropout)
            stepper.step(_loss(logits.float(), batch, told, plan, training.loss) + _activity(net, given, plan, quantised))
            pruner.step(step)
            step += 1
            _set_rate(stepper.optimizer, plan.learning_rate * (1 + math.cos(math.pi * min(1.0, step / last))) / 2)
            on_step()
    if step <= quantise_at:
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


def _told(teacher: TabularNet, fit: NetRows) -> torch.Tensor:
    """Return [n] float32, what the dense net says of each row; asked once, since it stands still."""
    return torch.from_numpy(teacher.logits(fit.bins).astype("float32")).to(teacher.increments.device)


def _loss(
    logits: torch.Tensor, batch: Batch, told: torch.Tensor | None, plan: FinishingPlan, weights: LossWeights
) -> torch.Tensor:
    """Return the loss of logits [B, K] against labels and, where it is told, the dense net."""
    hard = training_loss(logits, batch.labels, batch.weights, weights)
    if told is None:
        return hard
    opinion = told[batch.chosen][:, None].expand_as(logits)
    soft = distillation_loss(logits, opinion, torch.sigmoid(opinion), temperature=plan.temperature, share=1.0)
    return (1 - plan.distillation) * hard + plan.distillation * soft


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
