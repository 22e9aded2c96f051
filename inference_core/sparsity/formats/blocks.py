"""Whole blocks of values, and one bit a block."""

from __future__ import annotations

import torch
from torch.nn import functional

from inference_core.sparsity.formats.base import PackedWeight, StorageFormat, checked, pack_bits, shape_part, unpack_bits
from inference_core.sparsity.schemes.base import as_matrix, from_matrix
from inference_core.sparsity.schemes.blocks import Blocks as Pattern


class Blocks(StorageFormat):
    """b (1 - s) bytes a weight and one bit a block, where a block is kept if any of its values is not zero.

    The size of a block is the one of 64, 32, 16, 8, 4 that takes the fewest bytes, and is stored with it. Blocks at the
    end are filled up with zeros, which count.
    """

    name = "blocks"
    _SIZES = (64, 32, 16, 8, 4)

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        weight = checked(weight)
        return min((self._pack(weight, size) for size in self._SIZES), key=lambda packed: packed.stored_bytes)

    def _pack(self, weight: torch.Tensor, size: int) -> PackedWeight:
        blocks = _blocks(as_matrix(weight), size)
        kept = (blocks != 0).any(2).any(1)
        block = torch.tensor([size], dtype=torch.int32)
        return PackedWeight(
            self.name, {"values": blocks[kept], "bits": pack_bits(kept), "block": block, "shape": shape_part(weight)}
        )

    def unpack(self, packed: PackedWeight) -> torch.Tensor:
        shape, size = packed.parts["shape"].tolist(), int(packed.parts["block"])
        outputs, inputs = shape[0], torch.Size(shape[1:]).numel()
        down, across = -(-outputs // size), -(-inputs // size)
        blocks = torch.zeros((down * across, size, size), dtype=packed.parts["values"].dtype)
        blocks[unpack_bits(packed.parts["bits"], len(blocks))] = packed.parts["values"]
        matrix = blocks.reshape(down, across, size, size).transpose(1, 2).reshape(down * size, across * size)
        return from_matrix(matrix[:outputs, :inputs], torch.Size(shape))

    def example(self, dense: torch.Tensor) -> torch.Tensor:
        return dense * Pattern(16, 16).mask(dense.abs().float(), 0.75)


def _blocks(matrix: torch.Tensor, size: int) -> torch.Tensor:
    """Return [blocks, size, size], row by row of blocks."""
    rows, columns = matrix.shape
    padded = functional.pad(matrix, (0, -columns % size, 0, -rows % size))
    return padded.reshape(-(-rows // size), size, -(-columns // size), size).transpose(1, 2).reshape(-1, size, size)
