"""Packed weights in a safetensors file: tensors and a JSON header, nothing that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from inference_core.errors import ArtifactRefused
from inference_core.sparsity.formats import FORMATS, PackedWeight

_SEPARATOR = "/"
_HEADER = "sparse_formats"


def save_sparse(path: Path, weights: Mapping[str, PackedWeight | torch.Tensor]) -> int:
    """Write packed weights, and plain tensors such as biases beside them; return the bytes of the file.

    Raises:
        ValueError: a name holds "/".
    """
    tensors, formats = {}, {}
    for name, weight in weights.items():
        if _SEPARATOR in name:
            raise ValueError(f"the name of a weight may not hold {_SEPARATOR}: {name}")
        if isinstance(weight, torch.Tensor):
            tensors[name] = weight.detach().cpu().contiguous()
            continue
        formats[name] = weight.format
        tensors |= {f"{name}{_SEPARATOR}{part}": tensor.contiguous() for part, tensor in weight.parts.items()}
    save_file(tensors, path, metadata={_HEADER: json.dumps(formats, sort_keys=True)})
    return path.stat().st_size


def load_sparse(path: Path) -> dict[str, torch.Tensor]:
    """Return name -> tensor of a file of save_sparse, packed weights unpacked.

    Raises:
        ArtifactRefused: it is no such file, or names a format that is not known.
    """
    try:
        with safe_open(path, framework="pt") as file:
            formats = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactRefused(f"{path} is no file of sparse weights: {error}") from error
    if unknown := set(formats.values()) - FORMATS.keys():
        raise ArtifactRefused(f"{path} names formats that are not known: {', '.join(sorted(unknown))}")
    parts: dict[str, dict[str, torch.Tensor]] = {name: {} for name in formats}
    found = {}
    for full, tensor in tensors.items():
        name, separator, part = full.partition(_SEPARATOR)
        if separator:
            parts[name][part] = tensor
        else:
            found[name] = tensor
    try:
        return found | {name: FORMATS[form].unpack(PackedWeight(form, parts[name])) for name, form in formats.items()}
    except (KeyError, RuntimeError, ValueError) as error:
        raise ArtifactRefused(f"{path} holds parts that do not fit each other: {error}") from error


def stored_bytes(weights: Mapping[str, PackedWeight | torch.Tensor]) -> int:
    """Return the bytes of all values, indices, scales and shapes; the file has its JSON header besides."""
    return sum(
        weight.stored_bytes if isinstance(weight, PackedWeight) else weight.numel() * weight.element_size()
        for weight in weights.values()
    )
