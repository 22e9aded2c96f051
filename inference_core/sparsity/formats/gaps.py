"""The values that are not zero, and how many zeros lie before each: for many zeros anywhere.

Relative indexing with fillers (Han, Mao, Dally 2016, "Deep Compression", arXiv 1510.00149): a gap takes a few bits, and one that
is longer is bridged by values that are zero.
"""

from __future__ import annotations

import torch

from inference_core.sparsity.formats.base import PackedWeight, StorageFormat, checked, pack_bits, shape_part, unpack_bits
from inference_core.sparsity.schemes.unstructured import Unstructured

_WIDTHS = range(1, 9)


class Gaps(StorageFormat):
    """About (k / 8 + b) (1 - s) bytes a weight of b bytes with a share s of zeros, k the bits a gap that make it smallest; less
    than a bitmap where a fifth of the weights or fewer are left."""

    name = "gaps"

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        weight = checked(weight)
        flat = weight.reshape(-1)
        places = (flat != 0).nonzero()[:, 0]
        gaps = torch.diff(places, prepend=torch.tensor([-1])) - 1
        width = min(_WIDTHS, key=lambda of: (len(gaps) + int((gaps >> of).sum())) * (of + 8 * weight.element_size()))
        fillers = gaps >> width
        # Each gap's fillers come before the rest of it; a filler is the longest gap and a value of zero.
        ends = (fillers + 1).cumsum(0) - 1
        coded = torch.full((len(gaps) + int(fillers.sum()),), (1 << width) - 1, dtype=torch.int64)
        values = torch.zeros(len(coded), dtype=weight.dtype)
        coded[ends], values[ends] = gaps & (1 << width) - 1, flat[places]
        bits = coded[:, None] >> torch.arange(width) & 1
        parts = {"values": values, "gaps": pack_bits(bits.reshape(-1).bool()), "width": torch.tensor([width], dtype=torch.uint8)}
        return PackedWeight(self.name, {**parts, "shape": shape_part(weight)})

    def unpack(self, packed: PackedWeight) -> torch.Tensor:
        shape, values, width = packed.parts["shape"].tolist(), packed.parts["values"], int(packed.parts["width"])
        bits = unpack_bits(packed.parts["gaps"], len(values) * width).reshape(len(values), width)
        gaps = (bits.long() << torch.arange(width)).sum(1)
        weight = torch.zeros(int(packed.parts["shape"].prod()), dtype=values.dtype)
        weight[(gaps + 1).cumsum(0) - 1] = values
        return weight.reshape(shape)

    def example(self, dense: torch.Tensor) -> torch.Tensor:
        return dense * Unstructured().mask(dense.abs().float(), 0.9)
