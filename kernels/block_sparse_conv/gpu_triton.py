"""The convolution in Triton: the sparse linear layer's kernel on rows of pixels, each block reading rows some way off.

Pixels are rows of a matrix, [N x (H + 1) x (W + 1), channels]: each line of a picture ends with one pixel of zeros and each
picture with one line of zeros. These serve both as the right border of one line and the left border of the next, so that
every place of a 3 x 3 window is a constant number of rows away, and a tile of inputs is one piece of memory. The price is the
border's own rows, which are computed and thrown away: 7 % at 28 x 28, 15 % at 14 x 14.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kernels.block_sparse_conv.taps import ConvWeight
from kernels.block_sparse_linear.gpu_triton import DeviceBlocks, Tiling, check, choose_tiling, launch, upload_blocks
from kernels.errors import KernelInputError


@dataclass(frozen=True, eq=False)
class DeviceConv:
    """A ConvWeight on a GPU, for pictures of one size.

    Attributes:
        blocks: whose source is the block of channels and whose shift the rows to the window's place.
        picture: (H, W).
    """

    blocks: DeviceBlocks
    picture: tuple[int, int]


def upload_conv(
    weight: ConvWeight, picture: tuple[int, int], device: str | torch.device, dtype: torch.dtype = torch.bfloat16
) -> DeviceConv:
    """Return a weight on a device, as bfloat16 or float16, for pictures of (H, W).

    Raises:
        KernelInputError: the window is larger than 3 x 3, or a block does not suit the device (upload_blocks).
    """
    if max(weight.size) > 3:
        raise KernelInputError(f"one border pixel serves windows of up to 3 x 3; got {weight.size}")
    down, right = weight.steps()
    per_place = weight.channels // weight.blocks.width
    matrix = weight.blocks
    channel_blocks = type(matrix)(
        matrix.outputs, weight.channels, matrix.values, matrix.source % per_place, matrix.offsets
    )  # as many inputs as a row of pixels has
    return DeviceConv(upload_blocks(channel_blocks, device, dtype, down * (picture[1] + 1) + right), picture)


def with_border(x: torch.Tensor) -> torch.Tensor:
    """Return pictures [N, H, W, C] as rows of pixels [N x (H + 1) x (W + 1), C]."""
    return torch.nn.functional.pad(x, (0, 0, 0, 1, 0, 1)).reshape(-1, x.shape[3])


def without_border(rows: torch.Tensor, picture: tuple[int, int]) -> torch.Tensor:
    """Return rows of pixels as pictures [N, H, W, C], a view."""
    height, width = picture
    return rows.view(-1, height + 1, width + 1, rows.shape[1])[:, :height, :width]


def block_sparse_conv(
    rows: torch.Tensor, weight: DeviceConv, bias: torch.Tensor | None = None, *, residual: torch.Tensor | None = None,
    relu: bool = False, out: torch.Tensor | None = None, tiling: Tiling | None = None,
) -> torch.Tensor:  # fmt: skip
    """Return act(conv + bias + residual) as rows of pixels [N x (H + 1) x (W + 1), outputs], zeros in the border.

    Args:
        rows: [N x (H + 1) x (W + 1), channels] of the weight's dtype, zeros in the border: as with_border and this function
            give it.
        bias: [outputs] float32 or None. residual: like the result, or None.
        relu: as in the package. out: where the result goes; None for a new tensor. tiling: None for the usual one.

    Raises:
        KernelInputError: the parts do not fit each other.
    """
    height, width = weight.picture
    check(rows, weight.blocks, bias, None, None)
    shape = (len(rows), weight.blocks.outputs)
    y = torch.empty(shape, dtype=rows.dtype, device=rows.device) if out is None else out
    for name, part in (("out", y), ("residual", residual)):
        if part is not None and (part.dtype != rows.dtype or part.shape != shape or not part.is_contiguous()):
            raise KernelInputError(f"{name} must be contiguous {rows.dtype} {list(shape)}; got {part.dtype} {list(part.shape)}")
    if len(rows) % ((height + 1) * (width + 1)):
        raise KernelInputError(f"rows must be whole pictures of {height + 1} x {width + 1} pixels with border; got {len(rows)}")
    if len(rows):
        tiling = tiling or choose_tiling(len(rows), weight.blocks)
        launch(rows, weight.blocks, y, bias, None, residual, relu, None, weight.picture, tiling)
    return y
