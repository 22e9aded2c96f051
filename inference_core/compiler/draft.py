"""What the passes hand on: the IR, then where it is cut, then the tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inference_core.compiler.ir import Column, ProgramIR
from kernels.score_rows import ScoreTables
from kernels.tables import MAX_CUTS


@dataclass(frozen=True, eq=False)
class SourceCuts:
    """One feature or derived column and its cuts, spread over as many bin columns as they need.

    Attributes:
        source: column of x, or the width of x + the place among the derived columns.
        cuts: [n] float32, ascending.
        first_column: its first bin column; the others follow.
    """

    source: int
    cuts: np.ndarray
    first_column: int

    @cached_property
    def starts(self) -> np.ndarray:
        """[columns + 1] position of the first cut of each bin column, and the number of cuts."""
        columns = max(1, -(-len(self.cuts) // MAX_CUTS))
        return np.arange(columns + 1) * len(self.cuts) // columns

    @property
    def columns(self) -> int:
        return len(self.starts) - 1

    def place(self, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bin columns of cuts, and which cut of its column each is."""
        at = np.searchsorted(self.cuts, cut)
        share = np.searchsorted(self.starts, at, side="right") - 1
        return self.first_column + share, at - self.starts[share]

    def lowest_alike(self, values: np.ndarray) -> np.ndarray:
        """Return for each value the lowest that falls between the same cuts (-infinity below the first)."""
        floors = np.concatenate([np.array([-np.inf], np.float32), self.cuts])
        return np.where(np.isnan(values), np.float32(np.nan), floors[np.searchsorted(self.cuts, values, side="right")])


@dataclass(frozen=True, eq=False)
class CutPlan:
    """Attributes:
    derived: numbers of the IR that become derived columns, operands first.
    sources: what is binned, in the order of the bin columns.
    """

    derived: tuple[int, ...]
    sources: tuple[SourceCuts, ...]

    @cached_property
    def by_source(self) -> dict[int, SourceCuts]:
        return {of.source: of for of in self.sources}

    @cached_property
    def derived_place(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self.derived)}

    @property
    def columns(self) -> int:
        return sum(of.columns for of in self.sources)

    def of_number(self, ir: ProgramIR, number: int) -> SourceCuts:
        """Return the cuts of a number that is not constant."""
        node = ir.numbers[number]
        return self.by_source[node.position if isinstance(node, Column) else ir.features + self.derived_place[number]]


@dataclass(frozen=True, eq=False)
class Draft:
    """Attributes:
    ir: rules and trees.
    cuts: None before the pass cut_union.
    tables: None before the pass layout.
    """

    ir: ProgramIR
    cuts: CutPlan | None = None
    tables: ScoreTables | None = None
