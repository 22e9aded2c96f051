"""The fused pass: derive, bin, rules, forest, net and the largest contributions, each row read once.

What comes out is exactly what bin_features, rule_mask, path_contributions, net_margin and top_values give one after the other,
bit for bit, whatever the batch size, the kernel or the device. Rows are float32, NaN where a value is missing.

The net adds one fixed-point term to the sum of leaves before that is rounded, once. Its contribution, the term less that of
the mean total, is told as one of F + 1, behind those of the F columns of x.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from kernels.bin_features import check_rows
from kernels.errors import KernelInputError
from kernels.native import ScoreCall, address, check, library, owned_rows, pointer
from kernels.net_margin.table import NetTable
from kernels.tables import CutTable, RuleBits, RuleTable, TreeTable, made_once

FEW_ROWS = 16
"""Batches up to this size use buffers that are kept between calls: making them would take longer than the pass."""


_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, eq=False)
class ScoreTables:
    """All that the fused pass reads; trees is None for rules alone, and net where none stands beside the trees."""

    cuts: CutTable
    rules: RuleTable
    trees: TreeTable | None
    net: NetTable | None = None

    def __post_init__(self) -> None:
        if self.rules.columns > self.cuts.width or (self.trees is not None and self.trees.columns > self.cuts.columns):
            raise KernelInputError("the rules or the trees read a bin column that the cuts do not make")
        if self.trees is not None and self.trees.features != self.cuts.features:
            raise KernelInputError("the trees and the cuts disagree on the width of x")
        if self.net is not None and (self.trees is None or self.net.columns > self.cuts.columns):
            raise KernelInputError("a net stands beside trees, and reads bin columns that the cuts make")

    @cached_property
    def native(self):
        """The tables as C reads them."""
        from kernels.native_tables import native_scores

        return made_once(self, native_scores, self.cuts, self.rules, self.trees, self.net)

    @cached_property
    def prepared(self) -> dict[tuple[tuple[int, ...], int], list[PreparedCall]]:
        """Calls for small batches that are not in use: (shape of x, top) -> a stack that threads take from and give back to.

        A shape that is in here has been checked.
        """
        return {}


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a ScoredRows lie in its buffer: words, margins, features, contributions.

    Attributes:
        rows: B.
        words: W.
        outputs: of hit, insufficient and error, which any rule has; the others are all zeros and take no room.
        trees: whether there are margins.
        top: contributions a row.
    """

    rows: int
    words: int
    outputs: tuple[bool, bool, bool]
    trees: bool
    top: int

    @classmethod
    def of(cls, tables: ScoreTables, rows: int, top: int) -> Layout:
        return cls(rows, tables.rules.words, tables.rules.outputs, tables.trees is not None, top)

    @cached_property
    def margins(self) -> int:
        """Byte at which the margins begin."""
        return self.rows * self.words * 8 * sum(self.outputs)

    @cached_property
    def features(self) -> int:
        """Byte at which the top features begin."""
        return self.margins + self.rows * 4 * self.trees

    @cached_property
    def bytes(self) -> int:
        return self.features + self.rows * self.top * 8


class ScoredPlaces(NamedTuple):
    """Addresses of a ScoredRows' arrays; None where an output is no rule's, or there are no trees."""

    words: int
    hit: int | None
    insufficient: int | None
    error: int | None
    margin: int | None
    top_features: int


class ScoredRows:
    """What the pass says of B rows. The arrays are views of one buffer, made when they are asked for."""

    __slots__ = ("_buffer", "_layout")

    def __init__(self, layout: Layout, buffer: np.ndarray) -> None:
        self._layout, self._buffer = layout, buffer

    @classmethod
    def empty(cls, tables: ScoreTables, rows: int, top: int) -> ScoredRows:
        """Return room for so many rows, with whatever was in memory there."""
        layout = Layout.of(tables, rows, top)
        return cls(layout, np.empty(layout.bytes, np.uint8))

    @classmethod
    def of(cls, margin: np.ndarray, bits: RuleBits, top_features: np.ndarray, top_contributions: np.ndarray) -> ScoredRows:
        """Return the same as arrays that were computed one by one."""
        layout = Layout(len(margin), bits.hit.shape[1], (True, True, True), True, top_features.shape[1])
        scored = cls(layout, np.empty(layout.bytes, np.uint8))
        of = scored.bits
        of.hit[...], of.insufficient[...], of.error[...] = bits.hit, bits.insufficient, bits.error
        scored.margin[...], scored.top_features[...], scored.top_contributions[...] = margin, top_features, top_contributions
        return scored

    def __len__(self) -> int:
        return self._layout.rows

    @property
    def top(self) -> int:
        """Contributions a row."""
        return self._layout.top

    @property
    def has_margin(self) -> bool:
        """Whether there were trees."""
        return self._layout.trees

    def places(self) -> ScoredPlaces:
        """Return where in memory the arrays lie, for a kernel that goes on from here; valid while this lives."""
        layout, start = self._layout, address(self._buffer) if len(self._buffer) else 0
        size, at, words = layout.rows * layout.words * 8, start, []
        for used in layout.outputs:
            words.append(at if used else None)
            at += size * used
        return ScoredPlaces(layout.words, *words, start + layout.margins if layout.trees else None, start + layout.features)

    def _view(self, start: int, kind: type, *shape: int) -> np.ndarray:
        return np.ndarray(shape, kind, self._buffer, start)

    @property
    def bits(self) -> RuleBits:
        """The rules' words."""
        layout, words, start = self._layout, [], 0
        shape = (layout.rows, layout.words)
        for used in layout.outputs:
            words.append(self._view(start, np.uint64, *shape) if used else np.zeros(shape, np.uint64))
            start += layout.rows * layout.words * 8 * used
        return RuleBits(*words)

    @property
    def margin(self) -> np.ndarray:
        """[B] float32; NaN without trees."""
        layout = self._layout
        if not layout.trees:
            return np.full(layout.rows, np.nan, np.float32)
        return self._view(layout.margins, np.float32, layout.rows)

    @property
    def top_features(self) -> np.ndarray:
        """[B, top] int32 columns of x, or F for the net, largest contribution first, as top_values gives them."""
        layout = self._layout
        return self._view(layout.features, np.int32, layout.rows, layout.top)

    @property
    def top_contributions(self) -> np.ndarray:
        """[B, top] float32."""
        layout = self._layout
        return self._view(layout.features + 4 * layout.rows * layout.top, np.float32, layout.rows, layout.top)


class PreparedCall:
    """The compiled kernel with its addresses and buffer at hand, for batches of up to `rows` rows.

    One call at a time: whoever shares it sees to that. What comes back is a copy.
    """

    def __init__(self, tables: ScoreTables, rows: int, top: int) -> None:
        self._tables, self._rows, self._score = tables.native, rows, library().score_rows
        self._layout = Layout.of(tables, rows, top)
        self._buffer = self._answer = np.empty(self._layout.bytes, np.uint8)
        out = self._buffer.ctypes.data
        self._call = ScoreCall(self._tables.address, rows, tables.cuts.features, 1, top, 0, rows, out)
        self._address = ctypes.addressof(self._call)

    def run(self, x: np.ndarray, memberships: np.ndarray | None) -> ScoredRows:
        """Score rows that were checked: x [n, F] float32 in any order of memory, n up to `rows`.

        Raises:
            MemoryError: there is no memory for the scratch of a pass.
        """
        rows = x.shape[0]
        if rows != self._rows:
            self._call.rows = self._call.total = self._rows = rows
            self._layout = replace(self._layout, rows=rows)
            self._answer = self._buffer[: self._layout.bytes]
        check(self._score(self._address, x.tobytes(), None if memberships is None else memberships.tobytes()))
        return ScoredRows(self._layout, self._answer.copy())


def score_rows(tables: ScoreTables, x: np.ndarray, memberships: np.ndarray | None = None, top: int = 0) -> ScoredRows:
    """Score rows x [B, F] float32 with memberships [B, L] bool (None: in no list); top from 0 to F contributions a row.

    Raises:
        KernelInputError: a shape or type does not fit.
        MemoryError: there is no memory for the scratch of a pass.
    """
    if memberships is None and x.dtype is _FLOAT32:
        idle = tables.prepared.get((x.shape, top))
        if idle is not None:
            return _score_few(tables, idle, x, None, top)
    check_batch(tables, x, memberships, top)
    native = library()
    if native is None:
        from kernels.score_rows import reference

        return reference.score_rows(tables, x, memberships, top)
    if len(x) <= FEW_ROWS:
        return _score_few(tables, tables.prepared.setdefault((x.shape, top), []), x, memberships, top)
    scored = ScoredRows.empty(tables, len(x), top)
    score_part(tables, x, memberships, scored, 0)
    return scored


def check_batch(tables: ScoreTables, x: np.ndarray, memberships: np.ndarray | None, top: int) -> None:
    """Raise KernelInputError unless score_rows takes these arguments."""
    check_rows(tables.cuts, x, memberships)
    if not 0 <= top <= tables.cuts.features:
        raise KernelInputError(f"top must be from 0 to {tables.cuts.features}; got {top}")


def score_part(tables: ScoreTables, x: np.ndarray, memberships: np.ndarray | None, into: ScoredRows, first: int) -> None:
    """Score rows that were checked, and write what they give from row `first` of `into` on: for several threads at once.

    Raises:
        MemoryError: there is no memory for the scratch of a pass.
    """
    native, layout, x = library(), into._layout, owned_rows(x)
    out = into._buffer.ctypes.data
    strides = (x.strides[0] // 4, x.strides[1] // 4)
    call = ScoreCall(tables.native.address, len(x), *strides, layout.top, first, layout.rows, out)
    lists = None if memberships is None else np.ascontiguousarray(memberships)
    check(native.score_rows(ctypes.addressof(call), pointer(x), None if lists is None else pointer(lists)))


def _score_few(
    tables: ScoreTables, idle: list[PreparedCall], x: np.ndarray, memberships: np.ndarray | None, top: int
) -> ScoredRows:
    try:
        prepared = idle.pop()
    except IndexError:  # as many threads are in here as calls were ever made ready
        prepared = PreparedCall(tables, len(x), top)
    scored = prepared.run(x, memberships)
    idle.append(prepared)
    return scored
