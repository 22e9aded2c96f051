"""A net as safetensors: tensors behind a JSON header, and nothing in it that could be run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from inference_core.errors import ProgramError
from inference_core.net.quantised import NetLayer, QuantisedNet

FORMAT = 1
_HEADER_LENGTH_BYTES = 8


def net_to_bytes(net: QuantisedNet) -> bytes:
    """Return the net as safetensors; numbers and names are JSON in its metadata."""
    tensors = {"first": net.first, "first_bias": net.first_bias, "first_scale": net.first_scale, "head": net.head}
    tensors["edges"] = np.concatenate(net.edges)
    for i, layer in enumerate(net.layers):
        tensors |= {f"layer{i}_weight": layer.weight, f"layer{i}_bias": layer.bias, f"layer{i}_scale": layer.scale}
    told = {
        "format": FORMAT,
        "feature_names": list(net.feature_names),
        "edge_counts": [len(edges) for edges in net.edges],
        "thresholds": [net.first_threshold, *(layer.threshold for layer in net.layers)],
        "unit": net.unit,
        "base": net.base,
        "centre": net.centre,
    }
    # one entry of metadata: several would be in another order each time
    return save({name: np.ascontiguousarray(of) for name, of in tensors.items()}, {"net": json.dumps(told)})


def net_from_bytes(raw: bytes) -> QuantisedNet:
    """Return the net that net_to_bytes gave.

    Raises:
        ProgramError: the bytes are no such net.
    """
    try:
        tensors = load(raw)
        told = _metadata(raw)
        first_threshold, *thresholds = map(int, told["thresholds"])
        layers = tuple(
            NetLayer(tensors[f"layer{i}_weight"], tensors[f"layer{i}_bias"], tensors[f"layer{i}_scale"], threshold)
            for i, threshold in enumerate(thresholds)
        )
        edges = np.split(tensors["edges"], np.cumsum(told["edge_counts"])[:-1])
        return QuantisedNet(
            feature_names=tuple(map(str, told["feature_names"])), edges=tuple(edges), first=tensors["first"],
            first_bias=tensors["first_bias"], first_scale=tensors["first_scale"], first_threshold=first_threshold,
            layers=layers, head=tensors["head"], unit=float(told["unit"]), base=float(told["base"]), centre=int(told["centre"]),
        )  # fmt: skip
    except ProgramError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ProgramError(f"the net cannot be read: {error!r}; train again with this version") from error


def _metadata(raw: bytes) -> dict[str, Any]:
    """Return the numbers and names; safetensors gives the metadata of files only, not of bytes."""
    end = _HEADER_LENGTH_BYTES + int.from_bytes(raw[:_HEADER_LENGTH_BYTES], "little")
    told = json.loads(json.loads(raw[_HEADER_LENGTH_BYTES:end])["__metadata__"]["net"])
    if told["format"] != FORMAT:
        raise ProgramError(f"a net of format {told['format']!r} is not {FORMAT!r}; train again with this version")
    return told
