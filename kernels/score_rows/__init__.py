"""The fused pass: derive, bin, rules, forest and its largest contributions, each row read once.

What comes out is exactly what bin_features, rule_mask, path_contributions and top_values give one after the other, bit
for bit, whatever the batch size, the kernel or the device.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kernels.bin_features import check_rows
from kernels.errors import KernelInputError
from kernels.native import ScoreOutput, check, library, owned_rows, pointer
from kernels.tables import CutTable, RuleBits, RuleTable, TreeTable


@dataclass(frozen=True, eq=False)
class ScoreTables:
    """All that the fused pass reads; trees is None for rules alone."""

    cuts: CutTable
    rules: RuleTable
    trees: TreeTable | None

    def __post_init__(self) -> None:
        if self.rules.columns > self.cuts.width or (self.trees is not None and self.trees.columns > self.cuts.columns):
            raise KernelInputError("the rules or the trees read a bin column that the cuts do not make")
        if self.trees is not None and self.trees.features != self.cuts.features:
            raise KernelInputError("the trees and the cuts disagree on the width of x")

    @cached_property
    def native(self):
        """The tables as C reads them."""
        from kernels.native_tables import native_scores

        return native_scores(self.cuts, self.rules, self.trees)


@dataclass(frozen=True)
class ScoredRows:
    """Attributes:
    margin: [B] float32; NaN without trees.
    bits: the rules' words.
    top_features, top_contributions: [B, top] int32 and float32, largest first, as top_values gives them.
    """

    margin: np.ndarray
    bits: RuleBits
    top_features: np.ndarray
    top_contributions: np.ndarray


def score_rows(tables: ScoreTables, x: np.ndarray, memberships: np.ndarray | None = None, top: int = 0) -> ScoredRows:
    """Score rows x [B, F] float32 with memberships [B, L] bool (None: in no list); top from 0 to F contributions a row.

    Raises:
        KernelInputError: a shape or type does not fit.
    """
    check_rows(tables.cuts, x, memberships)
    if not 0 <= top <= tables.cuts.features:
        raise KernelInputError(f"top must be from 0 to {tables.cuts.features}; got {top}")
    native = library()
    if native is None:
        from kernels.score_rows import reference

        return reference.score_rows(tables, x, memberships, top)
    x = owned_rows(x)
    rows, words = len(x), tables.rules.words
    bits = [np.empty((rows, words), np.uint64) for _ in range(3)]
    scored = ScoredRows(
        np.empty(rows, np.float32), RuleBits(*bits), np.empty((rows, top), np.int32), np.empty((rows, top), np.float32)
    )
    output = ScoreOutput(scored.margin.ctypes.data)
    for i, of in enumerate(bits):
        output.bits[i] = of.ctypes.data
    output.position, output.value = scored.top_features.ctypes.data, scored.top_contributions.ctypes.data
    lists = None if memberships is None else np.ascontiguousarray(memberships)
    strides = (x.strides[0] // 4, x.strides[1] // 4)
    members = None if lists is None else pointer(lists)
    check(native.score_rows(tables.native.address, pointer(x), rows, *strides, members, top, ctypes.addressof(output)))
    return scored
