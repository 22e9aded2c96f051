"""Two values of each group of four, with two bits each that say where they stand."""

from __future__ import annotations

import torch
from torch.nn import functional

from inference_core.sparsity.formats.base import PackedWeight, StorageFormat, checked, shape_part
from inference_core.sparsity.schemes.two_of_four import TwoOfFour as Pattern


class TwoOfFour(StorageFormat):
    """Half of the values and one bit a weight: 53.1 % of float32, 56.3 % of bfloat16, 62.5 % of int8."""

    name = "two_of_four"

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        weight = checked(weight)
        if not Pattern().allows(weight):
            raise ValueError("more than two of four neighbouring inputs are not zero: prune with TwoOfFour first")
        matrix = weight.reshape(len(weight), -1)
        groups = functional.pad(matrix, (0, -matrix.shape[1] % 4)).reshape(-1, 4)
        # The places of what is kept come first, in order; zeros fill up.
        places = (groups == 0).to(torch.uint8).argsort(dim=1, stable=True)[:, :2]
        codes = (places[:, 0] | places[:, 1] << 2).to(torch.uint8)
        pairs = functional.pad(codes, (0, len(codes) % 2)).reshape(-1, 2)
        index = pairs[:, 0] | pairs[:, 1] << 4
        return PackedWeight(self.name, {"values": groups.gather(1, places), "index": index, "shape": shape_part(weight)})

    def unpack(self, packed: PackedWeight) -> torch.Tensor:
        shape, values, index = packed.parts["shape"].tolist(), packed.parts["values"], packed.parts["index"]
        codes = torch.stack([index & 15, index >> 4], dim=1).reshape(-1)[: len(values)]
        places = torch.stack([codes & 3, codes >> 2], dim=1).long()
        groups = torch.zeros((len(values), 4), dtype=values.dtype).scatter_(1, places, values)
        inputs = torch.Size(shape[1:]).numel()
        return groups.reshape(shape[0], -1)[:, :inputs].reshape(shape)

    def example(self, dense: torch.Tensor) -> torch.Tensor:
        return dense * Pattern().mask(dense.abs().float(), 0.5)
