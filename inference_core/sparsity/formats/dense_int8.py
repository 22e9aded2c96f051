"""All values in one byte: the control row, which needs no zeros to save three quarters of float32."""

from __future__ import annotations

import torch

from inference_core.sparsity.formats.base import PackedWeight, StorageFormat, checked, shape_part


class DenseInt8(StorageFormat):
    """round(w / scale) with one float32 scale an output, the largest magnitude / 127; an int8 weight is kept as it is.

    Unpacked it is float32 or bfloat16 again, off by half a scale at most (and by bfloat16's own rounding).
    """

    name = "dense_int8"
    exact = False

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        weight = checked(weight)
        if weight.dtype == torch.int8:
            return PackedWeight(self.name, {"values": weight, "shape": shape_part(weight)})
        if not weight.isfinite().all():
            raise ValueError("a weight with NaN or infinity has no scale")
        scale = _scales(weight)
        values = torch.round(weight.float().reshape(len(weight), -1) / scale[:, None]).to(torch.int8).reshape(weight.shape)
        like = torch.zeros(0, dtype=weight.dtype)  # tells the dtype to unpack to, and costs no bytes
        return PackedWeight(self.name, {"values": values, "scale": scale, "like": like, "shape": shape_part(weight)})

    def unpack(self, packed: PackedWeight) -> torch.Tensor:
        values = packed.parts["values"]
        if "scale" not in packed.parts:
            return values
        matrix = values.reshape(len(values), -1).float() * packed.parts["scale"][:, None]
        return matrix.reshape(values.shape).to(packed.parts["like"].dtype)

    def example(self, dense: torch.Tensor) -> torch.Tensor:
        return dense

    def tolerance(self, weight: torch.Tensor) -> torch.Tensor:
        if weight.dtype == torch.int8:
            return torch.zeros(())
        bound = 0.501 * _scales(weight).reshape(-1, *[1] * (weight.ndim - 1))
        return bound if weight.dtype == torch.float32 else bound + weight.float().abs() / 128


def _scales(weight: torch.Tensor) -> torch.Tensor:
    largest = weight.float().reshape(len(weight), -1).abs().amax(1)
    return torch.where(largest > 0, largest / 127, 1.0)
