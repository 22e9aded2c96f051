"""The weight of a convolution in blocks: for each place of the window, channels of inputs to outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.block_sparse_linear.blocks import BlockWeight, pack_blocks
from kernels.errors import KernelInputError


@dataclass(frozen=True, eq=False)
class ConvWeight:
    """Attributes:
    blocks: of the matrix [outputs, places x channels], place by place from the upper left, row by row.
    channels: of the input, a multiple of a block's width, so that a block reads one place.
    size: (height, width) of the window, both odd.
    """

    blocks: BlockWeight
    channels: int
    size: tuple[int, int]

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return for each block how many pixels down and to the right of the output's place it reads."""
        place = self.blocks.source // (self.channels // self.blocks.width)
        return place // self.size[1] - self.size[0] // 2, place % self.size[1] - self.size[1] // 2


def pack_conv(weight: np.ndarray, height: int, width: int) -> ConvWeight:
    """Return the weight [outputs, channels, *size of the window] float32 in blocks of `height` outputs by `width` channels.

    Raises:
        KernelInputError: the window's sides are not odd, or the channels no multiple of width.
    """
    if weight.ndim != 4 or not weight.shape[2] % 2 or not weight.shape[3] % 2 or weight.shape[1] % max(width, 1):
        raise KernelInputError(
            f"the weight must be [outputs, a multiple of {width} channels, odd height, odd width]; got {list(weight.shape)}"
        )
    outputs, channels, *size = weight.shape
    matrix = np.ascontiguousarray(weight.transpose(0, 2, 3, 1).reshape(outputs, -1))
    return ConvWeight(pack_blocks(matrix, height, width), channels, (size[0], size[1]))
