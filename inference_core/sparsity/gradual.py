"""Pruning while a net trains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from inference_core.sparsity.importance import GradientScale, Importance, InputScale
from inference_core.sparsity.pruning import sparsity_of
from inference_core.sparsity.regrowth import Regrowth, exchange
from inference_core.sparsity.schedule import PruningSchedule
from inference_core.sparsity.schemes import PruningScheme, Unstructured


class GradualPruner:
    """Zeroes more and more weights of a net while it trains.

        pruner = GradualPruner(model, schedule)
        for i, batch in enumerate(batches):
            loss(batch).backward(); optimizer.step(); pruner.step(i); optimizer.zero_grad()

    Each layer has a threshold of its own, the quantile of its scores that the schedule asks for at the step. A pruned weight
    stays pruned unless `regrowth` brings it back. The optimizer's state is left alone: what it adds to a pruned weight
    is taken away again in `step`.

    Attributes:
        weights: name -> parameter, of what is pruned.
        masks: name -> bool of its shape, True where the weight is kept.
        thresholds: name -> the lowest score that was kept when the zeros were last chosen; empty before.
    """

    def __init__(
        self, model: nn.Module, schedule: PruningSchedule, *, scheme: PruningScheme | None = None,
        importance: Importance = Importance.MAGNITUDE, regrowth: Regrowth | None = None,
        weights: Mapping[str, nn.Parameter] | None = None,
    ) -> None:  # fmt: skip
        """Prepare to prune `weights`; if None, the weights of all nn.Linear and nn.Conv2d of the model.

        Raises:
            ValueError: nothing to prune, or INPUT_SCALED is asked for a parameter that is not such a layer's weight.
        """
        layers = {f"{name}.weight" if name else "weight": module for name, module in model.named_modules() if _has_weight(module)}
        self.weights = dict(weights) if weights is not None else {name: module.weight for name, module in layers.items()}
        if not self.weights:
            raise ValueError("there is nothing to prune: the model has no nn.Linear or nn.Conv2d, and no weights were named")
        self._schedule, self._scheme, self._regrowth = schedule, scheme or Unstructured(), regrowth
        self.masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.weights.items()}
        self.thresholds: dict[str, float] = {}
        self._inputs = _input_scales(layers, self.weights) if importance is Importance.INPUT_SCALED else {}
        self._gradients = {name: GradientScale() for name in self.weights} if importance is Importance.GRADIENT else {}

    @torch.no_grad()
    def step(self, step: int) -> None:
        """Do what the schedule says for this training step; call it after the optimizer's step, before gradients are cleared."""
        for name, weight in self.weights.items():
            if name in self._gradients:
                self._gradients[name].see(weight)
            if self._schedule.chooses_at(step):
                self.masks[name] = self._choose(name, weight, self._schedule.sparsity_at(step))
            elif self._regrowth is not None and self._regrowth.exchanges_at(step) and weight.grad is not None:
                self._exchange(name, weight, self._regrowth.share_at(step))
            weight.mul_(self.masks[name])

    def _choose(self, name: str, weight: nn.Parameter, sparsity: float) -> torch.Tensor:
        # Below every score, so that what is pruned already goes first and the masks are nested.
        scores = torch.where(self.masks[name], self._scores(name, weight), -1.0)
        keep = self._scheme.mask(scores, sparsity) & self.masks[name]
        self.thresholds[name] = float(scores[keep].min()) if keep.any() else float("inf")
        return keep

    def _exchange(self, name: str, weight: nn.Parameter, share: float) -> None:
        if not self._scheme.exchangeable:
            return
        keep = exchange(self.masks[name], weight.abs(), weight.grad, share)
        weight.mul_(keep & self.masks[name])  # what comes back begins at zero
        self.masks[name] = keep

    def _scores(self, name: str, weight: nn.Parameter) -> torch.Tensor:
        if name in self._inputs:
            return self._inputs[name].scores(weight)
        return self._gradients[name].scores(weight) if name in self._gradients else weight.detach().abs()

    def sparsity(self) -> float:
        """Return the share of zeros over all pruned weights together."""
        zeros = sum(sparsity_of(weight) * weight.numel() for weight in self.weights.values())
        return zeros / sum(weight.numel() for weight in self.weights.values())

    def close(self) -> None:
        """Take the hooks out of the model; the weights stay as they are."""
        for scale in self._inputs.values():
            scale.close()


def _has_weight(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, nn.Conv2d))


def _input_scales(layers: Mapping[str, nn.Module], weights: Mapping[str, nn.Parameter]) -> dict[str, InputScale]:
    unknown = [name for name, weight in weights.items() if name not in layers or layers[name].weight is not weight]
    if unknown:
        raise ValueError(f"INPUT_SCALED needs the inputs of nn.Linear or nn.Conv2d; {', '.join(unknown)} is no such weight")
    return {name: InputScale(layers[name]) for name in weights}
