"""A residual net of the kind of ResNet, dense and with its blocks pruned, end to end on the GPU.

    pictures [N, 3, 224, 224] -> 8 x 8 patches -> residual blocks at 28 x 28 -> 2 x 2 patches -> residual blocks at 14 x 14
    -> mean -> 1,000 logits

Convolutions inside the residual blocks are pruned in blocks of 128 outputs x 64 channels of one place; the first layer, the
one between the two halves and the last are dense in both. Batch norms are folded into weights and biases on both sides.
Weights are random: this says how fast such a net runs and that the pruned net computes what its dense twin with zeros
computes. It does not say what accuracy pruning costs; nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from inference_core.sparsity import Blocks
from kernels.block_sparse_conv import pack_conv
from kernels.block_sparse_conv.gpu_triton import DeviceConv, block_sparse_conv, upload_conv, with_border, without_border

GPU = "cuda:0"
_PATCHES, _HALVES, _LAST = 28, 14, 1_000


@dataclass(frozen=True)
class Kind:
    """Attributes:
    name: of the net.
    channels: between blocks, at 28 x 28 and at 14 x 14.
    windows: of a block's convolutions, one after the other.
    inner: channels between them, as a share of `channels`.
    blocks: in each half.
    """

    name: str
    channels: tuple[int, int]
    windows: tuple[int, ...]
    inner: float
    blocks: int


KINDS = (
    Kind("ResNet-18-like: two 3 x 3 a block, 512 and 1,024 channels", (512, 1_024), (3, 3), 1.0, 3),
    Kind("ResNet-50-like: 1 x 1, 3 x 3, 1 x 1 a block, 1,024 and 2,048 channels, half inside", (1_024, 2_048), (1, 3, 1), 0.5, 3),
)


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution [outputs, channels, window, window] with its bias, float32 on the GPU."""

    weight: torch.Tensor
    bias: torch.Tensor

    def pruned(self, zeros: float) -> Conv:
        return Conv(self.weight * Blocks(128, 64).mask(self.weight.abs(), zeros), self.bias)


@dataclass(frozen=True, eq=False)
class Net:
    """Attributes:
    patch, between, last: what is dense in any case.
    halves: for each half, its blocks of convolutions.
    """

    patch: Conv
    between: Conv
    last: Conv
    halves: tuple[list[list[Conv]], list[list[Conv]]]

    def pruned(self, zeros: float) -> Net:
        """Return the net with a share of the blocks of each convolution set to zero."""
        halves = tuple([[conv.pruned(zeros) for conv in block] for block in half] for half in self.halves)
        return Net(self.patch, self.between, self.last, halves)

    def zeros(self) -> float:
        """Return the share of zeros over all weights, the dense layers' included."""
        weights = [conv.weight for conv in (self.patch, self.between, self.last, *self.inner())]
        return 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)

    def inner(self) -> Iterator[Conv]:
        for half in self.halves:
            for block in half:
                yield from block

    def flops(self, pictures: int) -> float:
        """Return floating-point operations of the dense net."""
        places = [(self.patch, _PATCHES), (self.between, _HALVES), (self.last, 1)]
        for half, size in zip(self.halves, (_PATCHES, _HALVES), strict=True):
            places += [(conv, size) for block in half for conv in block]
        return 2.0 * pictures * sum(conv.weight.numel() * size * size for conv, size in places)


def random_net(kind: Kind, seed: int = 0) -> Net:
    """Return a net whose activations keep their size: the last convolution of a block counts a quarter."""
    generator = torch.Generator(device=GPU).manual_seed(seed)

    def conv(outputs: int, channels: int, window: int, gain: float = 1.0) -> Conv:
        spread = gain * (2 / (channels * window * window)) ** 0.5
        weight = torch.randn((outputs, channels, window, window), generator=generator, device=GPU) * spread
        return Conv(weight, torch.randn(outputs, generator=generator, device=GPU) * 0.1)

    def block(channels: int) -> list[Conv]:
        inner = int(channels * kind.inner)
        widths = [channels, *[inner] * (len(kind.windows) - 1), channels]
        gains = [1.0] * (len(kind.windows) - 1) + [0.25]
        return [conv(*of) for of in zip(widths[1:], widths, kind.windows, gains, strict=False)]

    first, second = kind.channels
    halves = [block(first) for _ in range(kind.blocks)], [block(second) for _ in range(kind.blocks)]
    return Net(conv(first, 3, 8), conv(second, first, 2), conv(_LAST, second, 1), halves)


class DenseNet(torch.nn.Module):
    """The net through torch, bfloat16, channels last; `fused` asks cuDNN for bias, sum and activation in one call."""

    def __init__(self, net: Net, fused: bool = False) -> None:
        super().__init__()
        self.fused = fused
        self.parts = torch.nn.ParameterList()
        self.patch, self.between, self.last = map(self._keep, (net.patch, net.between, net.last))
        self._halves = [[[self._keep(conv) for conv in block] for block in half] for half in net.halves]

    def _keep(self, conv: Conv) -> tuple[int, int]:
        weight = conv.weight.to(torch.bfloat16, memory_format=torch.channels_last)
        for part in (weight, conv.bias.to(torch.bfloat16)):
            self.parts.append(torch.nn.Parameter(part, requires_grad=False))
        return len(self.parts) - 2, conv.weight.shape[2]

    def _conv(self, x: torch.Tensor, of: tuple[int, int], residual: torch.Tensor | None = None) -> torch.Tensor:
        weight, bias, padding = self.parts[of[0]], self.parts[of[0] + 1], of[1] // 2
        one = ((1, 1), (padding, padding), (1, 1), 1)
        if self.fused and residual is None:
            return torch.cudnn_convolution_relu(x, weight, bias, *one)
        if self.fused:
            return torch.cudnn_convolution_add_relu(x, weight, residual, 1.0, bias, *one)
        y = functional.conv2d(x, weight, bias, padding=padding)
        return torch.relu(y if residual is None else y + residual)

    def patches(self, x: torch.Tensor, of: tuple[int, int]) -> torch.Tensor:
        """Return act(conv) where the stride is the window: a product on patches, which cuDNN is slow at for three channels."""
        count, channels, height, width = x.shape
        weight, bias, side = self.parts[of[0]], self.parts[of[0] + 1], of[1]
        pieces = x.permute(0, 2, 3, 1).reshape(count, height // side, side, width // side, side, channels).transpose(2, 3)
        rows = pieces.reshape(-1, side * side * channels)
        y = torch.relu(functional.linear(rows, weight.permute(0, 2, 3, 1).flatten(1), bias))
        return y.view(count, height // side, width // side, -1).permute(0, 3, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x, self.patch)
        for number, half in enumerate(self._halves):
            x = self.patches(x, self.between) if number else x
            for block in half:
                y = x
                for conv in block[:-1]:
                    y = self._conv(y, conv)
                x = self._conv(y, block[-1], x)
        return self.logits(x.mean((2, 3)))

    def logits(self, mean: torch.Tensor) -> torch.Tensor:
        return functional.linear(mean, self.parts[self.last[0]].flatten(1), self.parts[self.last[0] + 1])


class SparseNet:
    """The pruned net through the block-sparse convolution: bias, sum and activation are part of it."""

    def __init__(self, net: Net) -> None:
        self._dense = DenseNet(Net(net.patch, net.between, net.last, ([], [])))
        self._halves = [
            (size, [[(_upload(conv, size), conv.bias) for conv in block] for block in half])
            for size, half in zip((_PATCHES, _HALVES), net.halves, strict=True)
        ]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        dense = self._dense
        x = dense.patches(x, dense.patch)
        for number, (size, half) in enumerate(self._halves):
            x = dense.patches(x, dense.between) if number else x
            rows = with_border(x.permute(0, 2, 3, 1))
            for block in half:
                y = rows
                for weight, bias in block[:-1]:
                    y = block_sparse_conv(y, weight, bias, relu=True)
                rows = block_sparse_conv(y, *block[-1], residual=rows, relu=True)
            x = without_border(rows, (size, size)).permute(0, 3, 1, 2)
        # The border is zero, so the sum over all rows of a picture is that over its pixels.
        sums = rows.view(len(x), -1, rows.shape[1]).sum(1, dtype=torch.float32)
        return dense.logits((sums / _HALVES**2).bfloat16())


def _upload(conv: Conv, size: int) -> DeviceConv:
    return upload_conv(pack_conv(conv.weight.cpu().numpy(), 128, 64), (size, size), GPU)
