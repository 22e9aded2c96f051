"""The functions that are fused, with tensors like ours for any number of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

FEATURES, HIDDEN, RULES, OUTCOMES, MODALITIES, WINDOW = 331, 128, 50, 5, 5, 32


@dataclass(frozen=True)
class Case:
    """Attributes:
    function: plain PyTorch.
    make: (rows, generator) -> what varies from row to row.
    constants: generator -> what does not.
    is_published: the example from the literature rather than one of our own.
    """

    function: Callable[..., Any]
    make: Callable[[int, torch.Generator], tuple]
    constants: Callable[[torch.Generator], tuple]
    is_published: bool = False

    @property
    def name(self) -> str:
        return self.function.__name__

    def arguments(self, rows: int, device: str = "cpu") -> tuple:
        """Return arguments for a batch; the constants are the same tensors' values whatever the rows."""
        made = self.make(rows, torch.Generator().manual_seed(rows))
        return tuple(one.to(device) for one in (*made, *self.constants(torch.Generator().manual_seed(7))))


def noisy_or(probability, hits, weights):
    """The score: probability and the weights of the rules that hit."""
    return 1 - (1 - probability) * torch.prod(1 - hits * weights, -1)


def normalise_features(x, centre, scale):
    """Features of many sizes on one scale."""
    return torch.clamp(torch.asinh((x - centre) / scale), -6.0, 6.0)


def cheapest_outcome(probability, amount, loss, fixed):
    """Expected cost of each outcome, the least of them and which it is."""
    costs = (probability * amount).unsqueeze(-1) * loss + fixed
    least = costs.min(-1)
    return least.values, least.indices


def mlp_head(x, w1, b1, w2, b2):
    """A net's last two layers and its probability."""
    return torch.sigmoid(F.linear(F.relu(F.linear(x, w1, b1)), w2, b2)).squeeze(-1)


def gated_mixture(x, margins, present, gate, bias):
    """Margins of several modalities, weighed by a gate that leaves out those that are missing."""
    weight = torch.softmax(torch.where(present, F.linear(x, gate, bias), float("-inf")), -1)
    return torch.sigmoid((weight * margins).sum(-1))


def window_scores(amounts):
    """How unusual each amount of a card's window is."""
    apart = amounts - amounts.mean(-1, keepdim=True)
    return apart / torch.sqrt((apart * apart).mean(-1, keepdim=True) + 1e-6)


def fused_conv_bn_relu(x, weight, bias, running_mean, running_var):
    """The published example."""
    x = F.conv2d(x, weight, bias)
    x = F.batch_norm(x, running_mean, running_var)
    return F.relu(x)


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator)


def _uniform(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=generator)


CASES = (
    Case(noisy_or, lambda n, g: (_uniform(g, n), (_uniform(g, n, RULES) < 0.1).float()), lambda g: (0.9 * _uniform(g, RULES),)),
    Case(normalise_features, lambda n, g: (20 * _normal(g, n, FEATURES),),
         lambda g: (_normal(g, FEATURES), 0.5 + _uniform(g, FEATURES))),
    Case(cheapest_outcome, lambda n, g: (_uniform(g, n), 500 * _uniform(g, n)),
         lambda g: (_uniform(g, OUTCOMES), 30 * _uniform(g, OUTCOMES))),
    Case(mlp_head, lambda n, g: (_normal(g, n, FEATURES),),
         lambda g: (_normal(g, HIDDEN, FEATURES) / 18, _normal(g, HIDDEN), _normal(g, 1, HIDDEN) / 11, _normal(g, 1))),
    Case(gated_mixture, lambda n, g: (_normal(g, n, FEATURES), _normal(g, n, MODALITIES), _present(g, n)),
         lambda g: (_normal(g, MODALITIES, FEATURES) / 18, _normal(g, MODALITIES))),
    Case(window_scores, lambda n, g: (_normal(g, n, WINDOW).exp(),), lambda g: ()),
    # A card's last 16 events with 16 values each, in 3 channels.
    Case(fused_conv_bn_relu, lambda n, g: (_normal(g, n, 3, 16, 16),),
         lambda g: (_normal(g, 16, 3, 3, 3) / 5, _normal(g, 16), _normal(g, 16), 0.5 + _uniform(g, 16)), is_published=True),
)  # fmt: skip


def _present(generator: torch.Generator, rows: int) -> torch.Tensor:
    present = _uniform(generator, rows, MODALITIES) < 0.7
    present[:, 0] = True
    return present
