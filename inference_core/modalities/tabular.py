"""The net that stands beside the forest, as it is trained: in float32, or as the integers that will run.

A TabM-like ensemble (Gorishniy et al. 2025, arXiv 2410.24210) over bins; inference_core/net/quantised.py says in integers what
it computes. `forward` takes the same way twice: with `quantised` every number is rounded where the integers are, gradients
pass as if it had not been (straight-through, Bengio et al. 2013), and what comes out is the exported net's logit, bit for bit
up to the last multiplication. Shape letters: B rows, C features, H width of the first layer, K members, I inputs, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inference_core.modalities.encoding import BinEncoding
from inference_core.modalities.rounding import round_through
from inference_core.net.quantised import LARGEST_ACTIVATION, MAX_LAYERS, MAX_MEMBERS, MAX_WIDTH, WIDTH_STEP

_LARGEST_WEIGHT = 127
# Multiplied, not divided by 127: a GPU divides by a number through its reciprocal, a CPU does not, and both must round alike.
_WEIGHT_STEP = 1 / 127
# Log-odds that a net begins with: frauds are rare.
_FIRST_LOGIT = -4.0


@dataclass(frozen=True)
class NetShape:
    """Attributes:
    width: H, of the first layer; hidden: of each layer after it. Multiples of 64 up to 512.
    members: K.
    dropout: share of activations left out while training.
    """

    width: int = 256
    hidden: tuple[int, ...] = (256,)
    members: int = 8
    dropout: float = 0.4

    def __post_init__(self) -> None:
        if any(of % WIDTH_STEP or not 0 < of <= MAX_WIDTH for of in (self.width, *self.hidden)):
            raise ValueError(f"widths must be multiples of {WIDTH_STEP} up to {MAX_WIDTH}; got {self.width}, {self.hidden}")
        if not 1 <= len(self.hidden) <= MAX_LAYERS or not 1 <= self.members <= MAX_MEMBERS or not 0 <= self.dropout < 1:
            raise ValueError(f"1 to {MAX_LAYERS} hidden layers, 1 to {MAX_MEMBERS} members, dropout below 1: got {self}")


class TabularNet(nn.Module):
    """The net over the bins of an encoding.

    Attributes:
        increments: [N, H], what the first layer gains where a feature passes an edge, and of each a row for a missing value;
            the rows of one encoder after another, and an encoder is shared by the events of a sequence.
        position: [P, H], how much an event of a sequence counts, by its place.
        weights: of each hidden layer, [I, O], shared by all members.
        bias, scale: of each layer, [K, O]; in the first layer the scale may be negative.
        head: [K, O]; head_bias: [K].
        steps: [1 + layers] float32, what an activation of 1 in integers stands for; zeros until `calibrate`.
        thresholds: [1 + layers], integers below which an activation counts as zero when quantised.
    """

    def __init__(self, encoding: BinEncoding, shape: NetShape, seed: int) -> None:
        """Draw the first weights with this seed alone; the state of torch's own generator is neither read nor changed."""
        super().__init__()
        self.encoding, self.shape = encoding, shape
        generator = torch.Generator().manual_seed(seed)
        encoder, position, positions = encoding.sharing
        rows = self._lay_out(encoder, position)
        widths, members = (shape.width, *shape.hidden), shape.members

        def normal(*size: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*size, generator=generator) * scale)

        self.increments = normal(rows, shape.width, scale=(encoding.depth * len(encoding.edges) / 2) ** -0.5)
        self.position = nn.Parameter(torch.ones(positions, shape.width))
        # Members differ from the start by the sign of a unit and by where its bend lies.
        signs = torch.randint(0, 2, (members, shape.width), generator=generator) * 2.0 - 1.0
        bends = torch.rand(members, shape.width, generator=generator) * 2.0 - 1.0
        self.bias = nn.ParameterList([nn.Parameter(bends), *(torch.zeros(members, of) for of in shape.hidden)])
        self.scale = nn.ParameterList([nn.Parameter(signs), *(torch.ones(members, of) for of in shape.hidden)])
        pairs = zip(widths, shape.hidden, strict=False)
        self.weights = nn.ParameterList([normal(of, to, scale=(2 / of) ** 0.5) for of, to in pairs])
        self.head = normal(members, widths[-1], scale=widths[-1] ** -0.5)
        self.head_bias = nn.Parameter(torch.full((members,), _FIRST_LOGIT))
        self.register_buffer("steps", torch.zeros(len(widths)))
        self.register_buffer("thresholds", torch.zeros(len(widths)))

    def _lay_out(self, encoder: np.ndarray, position: np.ndarray) -> int:
        """Register what switches each increment of each feature on; return how many rows `increments` has.

        An increment counts where low <= bin <= high of its feature: from an edge on, or for a missing value alone.
        """
        rows, first_row = 0, {}
        feature, place, low, high = [], [], [], []
        missing = self.encoding.missing
        for f, edges in enumerate(self.encoding.edges):
            count = len(edges)
            if encoder[f] not in first_row:
                first_row[encoder[f]] = rows
                rows += count + 1
            feature += [f] * (count + 1)
            place += range(first_row[encoder[f]], first_row[encoder[f]] + count + 1)
            low += [*range(1, count + 1), missing]
            high += [missing - 1] * count + [missing]
        feature = np.array(feature)
        kept = {"feature": feature, "place": place, "of_position": position[feature]}
        for name, of in kept.items():
            self.register_buffer(name, torch.as_tensor(np.asarray(of, np.int64)), persistent=False)
        for name, of in {"low": low, "high": high}.items():
            self.register_buffer(name, torch.as_tensor(np.asarray(of, np.uint8)), persistent=False)
        return rows

    def forward(
        self, bins: torch.Tensor, *, quantised: bool = False, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return log-odds [B, K], and what each layer gave, [K, B, O], of bins [B, C] integer.

        Args:
            quantised: compute what the exported net computes; activations are then integers.
            generator: for dropout, which is left out without one.
        """
        weight, unit = self._rounded_if(quantised, self.expanded_increments())
        given = [self._activate(0, (self.encoded(bins) @ weight)[None], unit, quantised)]
        for layer, of in enumerate(self.weights, start=1):
            weight, unit = self._rounded_if(quantised, of)
            below = self._drop(given[-1], generator)
            given.append(self._activate(layer, below @ weight, unit * self.steps[layer - 1] if quantised else unit, quantised))
        return self._logits(self._drop(given[-1], generator), quantised), given

    def _logits(self, last: torch.Tensor, quantised: bool) -> torch.Tensor:
        if not quantised:
            return torch.einsum("kbo,ko->bk", last, self.head) + self.head_bias
        unit = self.head_unit()
        # In float64 sums stay exact where float32's 24 bits would not reach.
        total = torch.einsum("kbo,ko->bk", last.double(), self.rounded(self.head, unit).double())
        return total * (unit * self.steps[-1]).double() + self.head_bias.mean().double()

    def _activate(self, layer: int, sums: torch.Tensor, unit: torch.Tensor | float, quantised: bool) -> torch.Tensor:
        """Return [K, B, O] of sums [1 or K, B, O]; `unit` [O] is what 1 in integers stands for in the sums."""
        bias, scale = self.bias[layer][:, None], self.scale[layer][:, None]
        if not quantised:
            # (sums + bias) * scale in one pass over the rows
            return torch.addcmul(bias * scale, sums, scale).relu_()
        scaled = (sums + round_through(bias / unit)) * self.integer_scale(layer, unit)[:, None]
        whole = round_through(scaled).clamp(0, LARGEST_ACTIVATION)
        return torch.where(whole < self.thresholds[layer], torch.zeros((), device=whole.device), whole)

    def integer_scale(self, layer: int, unit: torch.Tensor) -> torch.Tensor:
        """Return [K, O] float32, by what integer sums are multiplied to become activations."""
        return self.scale[layer] * (unit / self.steps[layer])

    def encoded(self, bins: torch.Tensor) -> torch.Tensor:
        """Return [B, R] of 0 and 1: which increments the bins [B, C] of each row switch on."""
        by_increment = bins[:, self.feature]
        return ((by_increment >= self.low) & (by_increment <= self.high)).to(self.increments.dtype)

    def expanded_increments(self) -> torch.Tensor:
        """Return [R, H], the increments of every feature in turn, an event's own times its position's."""
        rows = self.increments[self.place]
        if not len(self.position):
            return rows
        return rows * functional.pad(self.position, (0, 0, 1, 0), value=1.0)[self.of_position]

    def _rounded_if(self, quantised: bool, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float]:
        if not quantised:
            return weight, 1.0
        unit = self.column_units(weight)
        return self.rounded(weight, unit), unit

    @staticmethod
    def column_units(weight: torch.Tensor) -> torch.Tensor:
        """Return [O], what 1 in int8 stands for in each column of a weight [..., O]."""
        largest = weight.detach().abs().reshape(-1, weight.shape[-1]).amax(0)
        return torch.where(largest > 0, largest * _WEIGHT_STEP, 1.0)

    @staticmethod
    def rounded(weight: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """Return the weight as the integers of int8, still in floating point."""
        return round_through(weight / unit).clamp(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)

    def head_unit(self) -> torch.Tensor:
        """Return what 1 in int8 stands for in the head."""
        largest = self.head.detach().abs().amax()
        return torch.where(largest > 0, largest * _WEIGHT_STEP, 1.0)

    def _drop(self, given: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        if generator is None or not self.shape.dropout:
            return given
        # One mask for all members, out of the bytes of 64-bit draws: draws would cost as much as the layer itself.
        rows, width = given.shape[1:]
        words = torch.empty(rows, width // 8, dtype=torch.int64, device=given.device)
        drawn = words.random_(-(2**63), 2**63 - 1, generator=generator).view(torch.uint8)
        left_out = round(self.shape.dropout * 256)
        return given * ((drawn >= left_out) * (256 / (256 - left_out)))

    @torch.no_grad()
    def calibrate(self, bins: torch.Tensor, share: float = 0.9995) -> None:
        """Set the steps so that `share` of the activations above zero of these rows fit into the integers."""
        _, given = self(bins)
        for layer, of in enumerate(given):
            positive = of[of > 0]
            top = positive.kthvalue(max(1, int(share * positive.numel()))).values if positive.numel() else of.new_tensor(1.0)
            self.steps[layer] = top / LARGEST_ACTIVATION

    @torch.no_grad()
    def logits(self, bins: np.ndarray, *, quantised: bool = False, block: int = 1024) -> np.ndarray:
        """Return log-odds [B] float64, the members' mean, of bins [B, C]."""
        device = self.increments.device
        blocks = (torch.from_numpy(bins[i : i + block]).to(device) for i in range(0, len(bins), block))
        parts = [self(of, quantised=quantised)[0] for of in blocks]
        return torch.cat(parts).double().mean(1).cpu().numpy() if parts else np.zeros(0)
