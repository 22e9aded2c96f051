"""Training a net on matured rows, stopped by rows that are newer than those it learns from."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from inference_core.modalities.losses import LossWeights, training_loss
from inference_core.modalities.tabular import TabularNet

Judge = Callable[[np.ndarray], float]
"""From log-odds [n] of the tune rows to how well they rank; larger is better."""
OnStep = Callable[[], None]


@dataclass(frozen=True)
class NetRows:
    """Attributes:
    bins: [n, C] uint8, of the net's encoding.
    labels: [n] of 0 and 1.
    weights: [n] float32, how much a row counts.
    """

    bins: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.bins) == len(self.labels) == len(self.weights) or not len(self.labels):
            raise ValueError(
                f"bins, labels and weights must be of as many rows, and not empty; "
                f"got {len(self.bins)}, {len(self.labels)} and {len(self.weights)}"
            )

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (bins, labels, weights) as tensors; labels and weights in float32."""
        labels, weights = (torch.from_numpy(np.asarray(of, np.float32)) for of in (self.labels, self.weights))
        return torch.from_numpy(self.bins).to(device), labels.to(device), weights.to(device)


@dataclass(frozen=True)
class NetTraining:
    """How a net is trained.

    Attributes:
        epochs: passes over the rows at most.
        patience: epochs without a better judgement of the tune rows after which it ends; the best epoch is kept.
        batch_rows: rows of a step.
        learning_rate, weight_decay: of AdamW (Loshchilov and Hutter 2019); biases and scales do not decay.
        good_share: share of the honest rows that an epoch sees, drawn anew each time and weighing more; all frauds are in each.
        averaging: how much the running mean of the weights keeps at each step; the mean is judged and kept, since steps on
            few frauds are noisy (Polyak and Juditsky 1992).
        loss: weights of the terms.
        seed: of first weights, order of rows and dropout.
    """

    epochs: int = 10
    patience: int = 3
    batch_rows: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    good_share: float = 1.0
    averaging: float = 0.99
    loss: LossWeights = LossWeights()
    seed: int = 7

    def __post_init__(self) -> None:
        if not 0 < self.good_share <= 1 or self.epochs < 1 or self.batch_rows < 1:
            raise ValueError(f"good_share must lie above 0 and up to 1, epochs and batch_rows be positive; got {self}")


@dataclass
class TrainingRecord:
    """What came of it: the judgement after each epoch (none without a judge), the epoch that was kept, and seconds."""

    judged: list[float] = field(default_factory=list)
    epochs: int = 0
    seconds: float = 0.0


def train_net(
    net: TabularNet,
    fit: NetRows,
    plan: NetTraining,
    *,
    tune_bins: np.ndarray | None = None,
    judge: Judge | None = None,
    on_step: OnStep = lambda: None,
) -> TrainingRecord:
    """Train the net in place, on the device that it lies on; equal seeds give equal nets on the CPU.

    Args:
        tune_bins: [n, C] uint8 of rows that are newer than those of `fit`; with `judge` they decide when to stop.
        on_step: called after each step; may raise to stop the training.

    Raises:
        ValueError: one of `tune_bins` and `judge` without the other.
    """
    if (tune_bins is None) != (judge is None):
        raise ValueError("tune rows need a judge, and a judge needs tune rows")
    record, started = TrainingRecord(), time.monotonic()
    stepper = Stepper(net, plan)
    mean = copy.deepcopy(net)
    kept, step = None, 0
    for epoch in range(1, plan.epochs + 1):
        for batch in stepper.batches(fit):
            logits, given = net(batch.bins, generator=stepper.dropout)
            stepper.step(training_loss(logits, batch.labels, batch.weights, plan.loss) + activity(given, plan.loss))
            step += 1
            _average(mean, net, min(plan.averaging, step / (step + 10)))
            on_step()
        if judge is None:
            record.epochs = epoch
            continue
        record.judged.append(float(judge(mean.logits(tune_bins))))
        if record.judged[-1] >= max(record.judged):
            record.epochs, kept = epoch, copy.deepcopy(mean.state_dict())
        if epoch - record.epochs >= plan.patience:
            break
    net.load_state_dict(kept if kept is not None else mean.state_dict())
    record.seconds = time.monotonic() - started
    return record


def activity(given: list[torch.Tensor], weights: LossWeights) -> torch.Tensor | float:
    """Return the weighted mean activation of all layers."""
    return weights.activity * sum(of.mean() for of in given) if weights.activity else 0.0


@dataclass(frozen=True)
class Batch:
    """Tensors of the rows `chosen` [B]: bins [B, C], labels [B] and weights [B] float32."""

    chosen: torch.Tensor
    bins: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor


class Stepper:
    """AdamW over a net's parameters, and seeded batches.

    Attributes:
        dropout: the generator that forward takes.
    """

    def __init__(self, net: TabularNet, plan: NetTraining) -> None:
        decaying = [net.increments, *net.weights, net.head]
        others = [p for p in net.parameters() if all(p is not of for of in decaying)]
        groups = [{"params": decaying, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.99), fused=True)
        self.dropout = torch.Generator(device=net.increments.device).manual_seed(plan.seed + 1)
        self._order = np.random.default_rng(plan.seed)
        self._batch_rows, self._good_share, self._device = plan.batch_rows, plan.good_share, net.increments.device
        self._on_device: tuple[NetRows, tuple[torch.Tensor, ...]] | None = None

    def batches(self, rows: NetRows) -> Iterator[Batch]:
        """Yield the batches of one epoch in a new order; what fills no batch waits for another epoch."""
        if self._on_device is None or self._on_device[0] is not rows:
            self._on_device = (rows, rows.on(self._device))
        bins, labels, weights = self._on_device[1]
        order = torch.from_numpy(self._draw(rows.labels)).to(self._device)
        size = min(self._batch_rows, len(order))
        for i in range(0, len(order) - size + 1, size):
            chosen = order[i : i + size]
            of = labels[chosen]
            yield Batch(chosen, bins[chosen], of, weights[chosen] * torch.where(of > 0, 1.0, 1.0 / self._good_share))

    def steps_of(self, rows: NetRows) -> int:
        """Return how many batches an epoch has, at most one more or less for chance."""
        good = int((np.asarray(rows.labels) == 0).sum())
        return max(1, round(len(rows.labels) - (1 - self._good_share) * good) // self._batch_rows)

    def _draw(self, labels: np.ndarray) -> np.ndarray:
        order = self._order.permutation(len(labels))
        if self._good_share == 1:
            return order
        return order[(labels[order] > 0) | (self._order.random(len(order)) < self._good_share)]

    def step(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


@torch.no_grad()
def _average(mean: TabularNet, net: TabularNet, keep: float) -> None:
    torch._foreach_lerp_(list(mean.parameters()), list(net.parameters()), 1 - keep)
