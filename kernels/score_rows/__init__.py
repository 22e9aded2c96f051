"""The fused pass: derive, bin, rules, forest and its largest contributions, each row read once.

What comes out is exactly what bin_features, rule_mask, path_contributions and top_values give one after the other, bit
for bit, whatever the batch size, the kernel or the device. Rows are float32, NaN where a value is missing.
"""

from __future__ import annotations

import ctypes
import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from kernels.bin_features import check_rows
from kernels.errors import KernelInputError
from kernels.native import ScoreCall, check, library, owned_rows, pointer
from kernels.tables import CutTable, RuleBits, RuleTable, TreeTable, made_once

FEW_ROWS = 16
"""Batches up to this size use buffers that are kept between calls: making them would take longer than the pass."""


_FLOAT32 = np.dtype(np.float32)


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

        return made_once(self, native_scores, self.cuts, self.rules, self.trees)

    @cached_property
    def prepared(self) -> dict[tuple[tuple[int, ...], int], list[_Prepared]]:
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
        rules = tables.rules
        outputs = tuple(bool((of >= 0).any()) for of in (rules.hit, rules.insufficient, rules.error))
        return cls(rows, rules.words, outputs, tables.trees is not None, top)

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

    @cached_property
    def structure(self) -> struct.Struct:
        """One row's numbers in the order of the buffer."""
        words = self.words * sum(self.outputs)
        return struct.Struct(f"={words}Q{'f' * self.trees}{self.top}i{self.top}f")


class ScoredRow(NamedTuple):
    """One row in plain numbers.

    Attributes:
        hit, insufficient, error: bit r says it of rule r.
        margin: NaN without trees.
        top_features, top_contributions: largest contribution first.
    """

    hit: int
    insufficient: int
    error: int
    margin: float
    top_features: tuple[int, ...]
    top_contributions: tuple[float, ...]


def _joined(words: tuple[int, ...]) -> int:
    return words[0] if len(words) == 1 else sum(word << (64 * i) for i, word in enumerate(words))


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

    def single(self) -> ScoredRow:
        """Return the one row of a batch of one in plain numbers: quicker than the arrays, which cost as much as the pass.

        Raises:
            KernelInputError: the batch has another number of rows.
        """
        layout = self._layout
        if layout.rows != 1:
            raise KernelInputError(f"single() is for a batch of one row; this one has {layout.rows}")
        numbers = layout.structure.unpack(self._buffer)
        words, outputs, at = layout.words, [], 0
        for used in layout.outputs:
            outputs.append(_joined(numbers[at : at + words]) if used else 0)
            at += words * used
        margin = numbers[at] if layout.trees else math.nan
        at += layout.trees
        return ScoredRow(*outputs, margin, numbers[at : at + layout.top], numbers[at + layout.top :])

    def _view(self, start: int, kind: type, width: int) -> np.ndarray:
        rows = self._layout.rows
        return self._buffer[start : start + rows * width * np.dtype(kind).itemsize].view(kind).reshape(rows, width)

    @property
    def bits(self) -> RuleBits:
        """The rules' words."""
        layout, words, start = self._layout, [], 0
        for used in layout.outputs:
            words.append(self._view(start, np.uint64, layout.words) if used else np.zeros((layout.rows, layout.words), np.uint64))
            start += layout.rows * layout.words * 8 * used
        return RuleBits(*words)

    @property
    def margin(self) -> np.ndarray:
        """[B] float32; NaN without trees."""
        layout = self._layout
        if not layout.trees:
            return np.full(layout.rows, np.nan, np.float32)
        return self._buffer[layout.margins : layout.features].view(np.float32)

    @property
    def top_features(self) -> np.ndarray:
        """[B, top] int32 columns of x, largest contribution first, as top_values gives them."""
        return self._view(self._layout.features, np.int32, self._layout.top)

    @property
    def top_contributions(self) -> np.ndarray:
        """[B, top] float32."""
        layout = self._layout
        return self._view(layout.features + 4 * layout.rows * layout.top, np.float32, layout.top)


class _Prepared:
    """A call with its buffer, ready for another batch of the same shape."""

    __slots__ = ("address", "buffer", "call", "layout", "run")

    def __init__(self, native: ctypes.CDLL, tables: ScoreTables, rows: int, top: int) -> None:
        self.layout = Layout.of(tables, rows, top)
        self.buffer = np.empty(self.layout.bytes, np.uint8)
        self.call = ScoreCall(tables.native.address, rows, tables.cuts.features, 1, top, 0, rows, self.buffer.ctypes.data)
        self.address = ctypes.addressof(self.call)
        self.run = native.score_rows


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


def _score_few(tables: ScoreTables, idle: list[_Prepared], x: np.ndarray, memberships: np.ndarray | None, top: int) -> ScoredRows:
    try:
        prepared = idle.pop()
    except IndexError:  # as many threads are in here as calls were ever made ready
        prepared = _Prepared(library(), tables, len(x), top)
    status = prepared.run(prepared.address, x.tobytes(), None if memberships is None else memberships.tobytes())
    buffer = prepared.buffer.copy()
    idle.append(prepared)
    if status:
        check(status)
    return ScoredRows(prepared.layout, buffer)
