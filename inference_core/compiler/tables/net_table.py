"""The table of a net: its edges become ranks among the program's cuts, its total a term of the forest's sum."""

from __future__ import annotations

import math

import numpy as np

from inference_core.compiler.draft import CutPlan, SourceCuts
from inference_core.compiler.ir import NetPart
from inference_core.errors import ProgramError
from kernels.net_margin import NetTable, NetTableLayer
from kernels.tables import MISSING

_DIGITS = 30
_MAX_SHIFT = 62


def net_table(part: NetPart, cuts: CutPlan, scale: int) -> NetTable:
    """Return the net on the bin columns of `cuts`, beside trees whose leaves have `scale` binary digits after the point.

    Raises:
        ProgramError: the net weighs so much that its terms do not fit beside the leaves.
    """
    net = part.net
    reads, column, rank = [0], [], []
    for of, edges in zip(part.columns, net.edges, strict=True):
        for place, ranks in _reads(cuts.by_source[of], edges):
            column.append(place)
            rank.append(ranks)
        reads.append(len(column))
    multiplier, shift = fixed_point(part.weight * net.unit * 2.0**scale)
    layers = (
        NetTableLayer(None, net.first_bias, net.first_scale, net.first_threshold),
        *(NetTableLayer(layer.weight, layer.bias, layer.scale, layer.threshold) for layer in net.layers),
    )
    return NetTable(
        reads=np.array(reads), column=np.array(column), rank=np.array(rank), offset=net.offsets, first=net.first, layers=layers,
        head=net.head, multiplier=multiplier, shift=shift, centre=net.centre, columns=cuts.columns,
    )  # fmt: skip


def _reads(source: SourceCuts, edges: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return the bin columns that hold an edge, or the first where none does, and how many edges each bin counts."""
    place, at = source.place(edges)
    found = []
    for column in range(source.first_column, source.first_column + source.columns):
        own = at[place == column]
        if len(own) or (not len(edges) and column == source.first_column):
            # bin b counts the first b cuts, so the edges among them
            ranks = np.searchsorted(own, np.arange(256), side="left").astype(np.uint8)
            ranks[MISSING] = 255
            found.append((column, ranks))
    return found


def fixed_point(weight: float) -> tuple[int, int]:
    """Return (multiplier, shift) with weight = multiplier * 2**-shift to 30 binary digits.

    Raises:
        ProgramError: the weight is 2**29 or more.
    """
    exponent = math.frexp(weight)[1]
    shift = min(_DIGITS - exponent, _MAX_SHIFT)
    if shift < 1:
        raise ProgramError(f"a net whose unit weighs {weight:.3g} units of the leaves does not fit: train it with a smaller unit")
    return round(weight * 2.0**shift), shift
