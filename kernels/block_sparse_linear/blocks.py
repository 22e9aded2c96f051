"""A weight in blocks, those that are all zero left out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kernels.errors import KernelInputError


@dataclass(frozen=True, eq=False)
class BlockWeight:
    """A weight [outputs, inputs] as blocks of [height, width]; what lies beyond its edges is zero.

    Attributes:
        outputs, inputs: of the weight.
        values: [blocks, height, width] float32 or int8, in order of their row of blocks and their place in it.
        source: [blocks] int32, which `width` inputs each reads: x[:, width * source : width * (source + 1)].
        offsets: [rows of blocks + 1] int32: the blocks of row r are offsets[r] to offsets[r + 1].
    """

    outputs: int
    inputs: int
    values: np.ndarray
    source: np.ndarray
    offsets: np.ndarray

    @property
    def height(self) -> int:
        return self.values.shape[1]

    @property
    def width(self) -> int:
        return self.values.shape[2]

    @property
    def bytes(self) -> int:
        """Values and index."""
        return self.values.nbytes + self.source.nbytes + self.offsets.nbytes

    @cached_property
    def density(self) -> float:
        """Share of the blocks that are there."""
        return len(self.values) / max(1, (len(self.offsets) - 1) * -(-self.inputs // self.width))

    def dense(self) -> np.ndarray:
        """Return the weight [outputs, inputs]."""
        rows, columns = len(self.offsets) - 1, -(-self.inputs // self.width)
        whole = np.zeros((rows, columns, self.height, self.width), self.values.dtype)
        whole[np.repeat(np.arange(rows), np.diff(self.offsets)), self.source] = self.values
        return whole.swapaxes(1, 2).reshape(rows * self.height, columns * self.width)[: self.outputs, : self.inputs]


def pack_blocks(weight: np.ndarray, height: int, width: int) -> BlockWeight:
    """Return a weight [outputs, inputs], float32 or int8, in blocks of [height, width]; one with NaN in it is kept.

    Raises:
        KernelInputError: another dtype or shape, or no such block.
    """
    if weight.dtype not in (np.float32, np.int8) or weight.ndim != 2 or min(*weight.shape, height, width) < 1:
        raise KernelInputError(
            f"the weight must be float32 or int8 [outputs, inputs] and blocks not empty; "
            f"got {weight.dtype} {weight.shape} in blocks of {height} x {width}"
        )
    outputs, inputs = weight.shape
    padded = np.pad(weight, ((0, -outputs % height), (0, -inputs % width)))
    blocks = padded.reshape(len(padded) // height, height, -1, width).swapaxes(1, 2)
    kept = (blocks != 0).any(axis=(2, 3))
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    return BlockWeight(outputs, inputs, np.ascontiguousarray(blocks[kept]), np.nonzero(kept)[1].astype(np.int32), offsets)
