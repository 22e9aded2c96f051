"""One bit a weight, and the values that are not zero: for zeros anywhere (kernels/bitmap_gemv reads the same)."""

from __future__ import annotations

import torch

from inference_core.sparsity.formats.base import PackedWeight, StorageFormat, checked, pack_bits, shape_part, unpack_bits
from inference_core.sparsity.schemes.unstructured import Unstructured


class Bitmap(StorageFormat):
    """1/8 + b (1 - s) bytes a weight of b bytes with a share s of zeros; a quarter of the dense bytes at 78.1 % (float32)."""

    name = "bitmap"

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        weight = checked(weight)
        kept = (weight != 0).reshape(-1)
        return PackedWeight(
            self.name, {"values": weight.reshape(-1)[kept], "bits": pack_bits(kept), "shape": shape_part(weight)}
        )

    def unpack(self, packed: PackedWeight) -> torch.Tensor:
        shape, values = packed.parts["shape"].tolist(), packed.parts["values"]
        weight = torch.zeros(int(packed.parts["shape"].prod()), dtype=values.dtype)
        weight[unpack_bits(packed.parts["bits"], weight.numel())] = values
        return weight.reshape(shape)

    def example(self, dense: torch.Tensor) -> torch.Tensor:
        return dense * Unstructured().mask(dense.abs().float(), 0.75)
