"""What every storage format can do, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.int8)
"""Values that a weight may hold."""


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """Attributes:
    format: name of the format.
    parts: name -> tensor: the values, the index, and the shape of the weight (int32), everything that unpack needs.
    """

    format: str
    parts: Mapping[str, torch.Tensor]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all parts, index and shape included."""
        return sum(part.numel() * part.element_size() for part in self.parts.values())


class StorageFormat(ABC):
    """Attributes:
    name: in files.
    exact: whether unpack(pack(weight)) is the weight, bit for bit but for the sign of zeros; else within `tolerance`.
    """

    name: str
    exact = True

    @abstractmethod
    def pack(self, weight: torch.Tensor) -> PackedWeight:
        """Return a weight [out, ...] of one of DTYPES in this format, on the CPU; NaN counts as a value.

        Raises:
            ValueError: another dtype, fewer than two axes, no elements, or zeros that the format does not allow.
        """

    @abstractmethod
    def unpack(self, packed: PackedWeight) -> torch.Tensor:
        """Return the weight."""

    @abstractmethod
    def example(self, dense: torch.Tensor) -> torch.Tensor:
        """Return `dense` with the zeros that this format is made for; for the contract suite."""

    def tolerance(self, weight: torch.Tensor) -> torch.Tensor:
        """Return by how much unpack may differ from the weight, a tensor that broadcasts against it."""
        return torch.zeros(())


def checked(weight: torch.Tensor) -> torch.Tensor:
    """Return the weight on the CPU, without gradient and contiguous."""
    if weight.dtype not in DTYPES or weight.ndim < 2 or not weight.numel():
        found = f"{weight.dtype} {list(weight.shape)}"
        raise ValueError(f"a weight is float32, bfloat16 or int8 with two axes or more, and not empty; got {found}")
    return weight.detach().cpu().contiguous()


def shape_part(weight: torch.Tensor) -> torch.Tensor:
    return torch.tensor(weight.shape, dtype=torch.int32)


def pack_bits(kept: torch.Tensor) -> torch.Tensor:
    """Return bool [n] as uint8 [ceil(n / 8)], the first in the lowest bit."""
    bits = torch.nn.functional.pad(kept.to(torch.uint8), (0, -kept.numel() % 8)).reshape(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def unpack_bits(packed: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first `count` bits as bool."""
    return (packed[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).reshape(-1)[:count].bool()
