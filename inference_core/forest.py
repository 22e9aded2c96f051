"""A gradient-boosted forest over named features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inference_core.compiler.draft import Draft
from inference_core.compiler.ir import ProgramIR, Tree
from inference_core.compiler.passes import cut_union, layout, tree_tiling
from inference_core.compiler.xgboost_model import read_xgboost
from kernels.bin_features import bin_features, check_rows
from kernels.forest_margin import forest_margin
from kernels.score_rows import ScoreTables

# Rows binned at a time: their bins stay in the second-level cache.
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees over named features, giving one raw margin (log-odds) a row.

    Attributes:
        trees: as the model holds them.
        base: margin of a forest without trees.
        feature_names: one a column of x.
    """

    trees: tuple[Tree, ...]
    base: float
    feature_names: tuple[str, ...]

    @classmethod
    def from_xgboost(cls, raw: bytes, feature_names: tuple[str, ...]) -> Forest:
        """Read a saved booster (JSON or UBJSON) that was trained on exactly these features in this order.

        Raises:
            ProgramError: not such a model, or one that this version cannot run; the message says which part.
        """
        names = tuple(feature_names)
        model = read_xgboost(raw, names)
        return cls(model.trees, model.base, names)

    @property
    def tree_count(self) -> int:
        return len(self.trees)

    @property
    def bias(self) -> float:
        """The margin before any path is taken: margin = bias + contributions."""
        return self.tables.trees.bias

    @cached_property
    def tables(self) -> ScoreTables:
        """The forest alone, for the kernels; the same fixed point as in a program with rules."""
        draft = Draft(ProgramIR(len(self.feature_names), 0, (), (), (), self.trees, self.base))
        for step in (tree_tiling, cut_union, layout):
            draft, _ = step.run(draft)
        return draft.tables

    def margins(self, x: np.ndarray) -> np.ndarray:
        """Return log-odds [B] float32 of rows x [B, F] float32.

        Raises:
            KernelInputError: x is not float32 [B, F].
        """
        check_rows(self.tables.cuts, x, None)
        margin = np.empty(len(x), np.float32)
        for start in range(0, len(x), _BLOCK):
            block = slice(start, start + _BLOCK)
            margin[block] = forest_margin(self.tables.trees, bin_features(self.tables.cuts, x[block]))
        return margin
