"""What the scoring kernels read: cuts, trees and rules, all in terms of bins.

Shape letters: B rows, F columns of x, D derived columns, K bin columns, L lists, T trees, N nodes, R rules,
W = ceil(R / 64) words.

A bin column counts how many of its cuts are <= the value, so that `value < cut[i]` is `bin <= i`, exactly. A missing
value (NaN) has the bin MISSING. A feature with more than MAX_CUTS cuts is spread over several columns, each with a
share of them, so that every bin is one byte.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from kernels.errors import KernelInputError

MISSING = 255
MAX_CUTS = 254
MAX_TREE_COLUMNS = 1 << 15
"""Bin columns of a forest's table: a kernel names a column, shifted or as it is, in 16 bits."""
NEVER = -1


class Arithmetic(enum.IntEnum):
    """How a derived column comes from two operands, in float32 and rounded to nearest each time.

    ORDER is -1, 0 or 1 as a is less than, equal to or greater than b, and NaN where either is NaN.
    """

    ADD = 0
    SUBTRACT = 1
    MULTIPLY = 2
    DIVIDE = 3
    ORDER = 4


DERIVATION = np.dtype([("op", "<i4"), ("a", "<i4"), ("b", "<i4"), ("a_value", "<f4"), ("b_value", "<f4")])
"""An operand is column a (or b) of [x, the derived columns before this one]; -1 takes the constant a_value instead."""

INSTRUCTION = np.dtype(
    [("op", "u1"), ("source", "u1"), ("negate", "u1"), ("low", "u1"), ("width", "u1"), ("pad", "u1"), ("operand", "<u2"),
     ("store", "<i4")]
)  # fmt: skip
"""One step of a rule program; see RuleTable."""


class Combine(enum.IntEnum):
    """What a step does to the accumulator."""

    SET = 0
    AND = 1
    OR = 2


class Source(enum.IntEnum):
    """Where a step's operand comes from.

    PREDICATE: (bin of column `operand` - low) mod 256 < width. REGISTER: register `operand`. TRUE: all rows.
    """

    PREDICATE = 0
    REGISTER = 1
    TRUE = 2


def made_once(table, make: Callable[..., Any], *parts) -> Any:
    """Return make(*parts or the table), the same object to every thread: calls under way hold its bare address.

    From Python 3.12 on a cached_property may run twice at once, and the second result would replace the first.
    """
    made = make(*(parts or (table,)))
    return table.__dict__.setdefault("_native", made)


def _freeze(table, **kinds) -> None:
    for name, kind in kinds.items():
        array = np.ascontiguousarray(getattr(table, name), kind)
        array = array.copy() if array.flags.writeable and array is getattr(table, name) else array
        array.setflags(write=False)  # shared between threads and programs
        object.__setattr__(table, name, array)


@dataclass(frozen=True, eq=False)
class CutTable:
    """Where each bin column comes from and where it is cut.

    Attributes:
        cuts: [C] float32, ascending within each column, no NaN.
        offsets: [K + 1] int32; column k has cuts[offsets[k]:offsets[k + 1]], at most MAX_CUTS.
        source: [K] int32 column of x, or F + d for derived column d.
        features: F, width of x.
        lists: L; bin columns K .. K + L - 1 are list memberships, 0 or 1.
        derived: [D] DERIVATION.
    """

    cuts: np.ndarray
    offsets: np.ndarray
    source: np.ndarray
    features: int
    lists: int = 0
    derived: np.ndarray = field(default_factory=lambda: np.zeros(0, DERIVATION))

    def __post_init__(self) -> None:
        _freeze(self, cuts=np.float32, offsets=np.int32, source=np.int32, derived=DERIVATION)
        counts = np.diff(self.offsets)
        if len(self.offsets) != len(self.source) + 1 or self.offsets[0] != 0 or self.offsets[-1] != len(self.cuts):
            raise KernelInputError("offsets must run from 0 to the number of cuts, one column a source")
        if (counts < 0).any() or (counts > MAX_CUTS).any():
            raise KernelInputError(f"a bin column has at most {MAX_CUTS} cuts; spread the feature over several columns")
        inside = np.ones(max(len(self.cuts) - 1, 0), bool)
        inside[self.offsets[1:-1][(self.offsets[1:-1] > 0) & (self.offsets[1:-1] < len(self.cuts))] - 1] = False
        if np.isnan(self.cuts).any() or (self.cuts[1:] <= self.cuts[:-1])[inside].any():
            raise KernelInputError("the cuts of a column must be ascending, and not NaN")
        if len(self.source) and not 0 <= self.source.min() <= self.source.max() < self.features + len(self.derived):
            raise KernelInputError("a bin column reads a column that x and the derived ones do not have")
        reach = self.features + np.arange(len(self.derived))
        if ((self.derived["a"] >= reach) | (self.derived["b"] >= reach)).any():
            raise KernelInputError("a derived column may read x and derived columns before it")

    @cached_property
    def native(self):
        """The table as C reads it."""
        from kernels.native_tables import native_cuts

        return made_once(self, native_cuts)

    @property
    def columns(self) -> int:
        """K, without the lists."""
        return len(self.source)

    @property
    def width(self) -> int:
        """K + L, rows of a bins array."""
        return len(self.source) + self.lists


@dataclass(frozen=True, eq=False)
class TreeTable:
    """A forest on bins. At a node a row goes right where ((bin + shift) mod 256) >= rank, else left.

    `shift` is 1 where a missing value goes left (255 + 1 wraps to 0), else 0; rank includes the shift. Values are fixed
    point: value * 2**-scale. Sums of integers do not depend on their order, so that every kernel, batch size and device
    gives the same bits.

    Attributes:
        column: [N] int32 bin column, -1 for a leaf.
        shift: [N] uint8, 0 or 1.
        rank: [N] uint8.
        left: [N] int32 position of the left child; the right one follows it. A leaf points at itself.
        value: [N] int32, a leaf's value, or the cover-weighted mean of the leaves below; a child's minus its parent's fits too.
        feature: [N] int32 column of x for contributions, -1 for a leaf.
        roots: [T] int32.
        depth: [T] int32 steps from root to the deepest leaf.
        scale: binary digits after the point.
        base: margin of a forest without trees.
        features: F, width of the contributions.
        columns: rows that a bins array must at least have; at most MAX_TREE_COLUMNS.
    """

    column: np.ndarray
    shift: np.ndarray
    rank: np.ndarray
    left: np.ndarray
    value: np.ndarray
    feature: np.ndarray
    roots: np.ndarray
    depth: np.ndarray
    scale: int
    base: float
    features: int
    columns: int

    def __post_init__(self) -> None:
        _freeze(self, column=np.int32, shift=np.uint8, rank=np.uint8, left=np.int32, value=np.int32, feature=np.int32,
                roots=np.int32, depth=np.int32)  # fmt: skip
        nodes, inner = len(self.column), self.column >= 0
        if any(len(of) != nodes for of in (self.shift, self.rank, self.left, self.value, self.feature)):
            raise KernelInputError("all columns of a tree table have one entry a node")
        if len(self.depth) != len(self.roots) or not 0 <= self.scale <= 62:
            raise KernelInputError("one depth a root, and a scale from 0 to 62")
        if (self.column >= self.columns).any() or (self.feature[inner] >= self.features).any() or (self.feature[inner] < 0).any():
            raise KernelInputError("a node tests a column that is not there")
        if self.columns > MAX_TREE_COLUMNS:
            raise KernelInputError(f"a forest's table has at most {MAX_TREE_COLUMNS} bin columns; got {self.columns}")
        here = np.arange(nodes)
        left = self.left
        if (left[inner] <= here[inner]).any() or (left[inner] + 1 >= nodes).any() or (left[~inner] != here[~inner]).any():
            raise KernelInputError("children come after their parent; a leaf points at itself")
        value, below = self.value.astype(np.int64), left[inner]
        change = np.concatenate([value[below], value[below + 1]]) - np.tile(value[inner], 2)
        if ((change < -(2**31)) | (change >= 2**31)).any():
            raise KernelInputError("what a step of a path changes must fit into int32: take fewer binary digits")
        if len(self.roots) and not 0 <= self.roots.min() <= self.roots.max() < nodes:
            raise KernelInputError("a root is not a node")

    @cached_property
    def root_sum(self) -> int:
        """Sum of the roots' means, fixed point."""
        return int(self.value[self.roots].sum(dtype=np.int64))

    @cached_property
    def native(self):
        """The table as C reads it."""
        from kernels.native_tables import native_trees

        return made_once(self, native_trees)

    @property
    def bias(self) -> float:
        """The margin before any path is taken: margin = bias + contributions."""
        return self.base + self.root_sum * 2.0**-self.scale

    def margin(self, total: np.ndarray) -> np.ndarray:
        """Return margins float32 of sums of leaves int64: rounded once, from float64."""
        return (self.base + total * 2.0**-self.scale).astype(np.float32)


@dataclass(frozen=True, eq=False)
class RuleTable:
    """All rules as one straight program over an accumulator and registers, each a truth a row.

    A step computes its operand (see Source), negates it if told, combines it into the accumulator (see Combine) and, if
    store >= 0, copies the accumulator to that register. The first step of a program is a SET.

    Attributes:
        steps: [I] INSTRUCTION.
        registers: how many there are.
        hit, insufficient, error: [R] int32 register that says so of each rule, or NEVER.
        columns: rows that a bins array must at least have.
    """

    steps: np.ndarray
    registers: int
    hit: np.ndarray
    insufficient: np.ndarray
    error: np.ndarray

    def codes(self, rules: int) -> np.ndarray:
        """Return a code a rule, uint8 [B, R]: 1 for a hit, 2 for insufficient history, 3 for an error, else 0.

        A rule has at most one bit on a row.
        """
        # HIT is 01, INSUFFICIENT_HISTORY 10 and ERROR 11: two looks at the bits instead of three
        codes = _unpacked(self.insufficient | self.error, rules)
        codes += codes
        codes += _unpacked(self.hit | self.error, rules)
        return codes
    columns: int

    def __post_init__(self) -> None:
        _freeze(self, steps=INSTRUCTION, hit=np.int32, insufficient=np.int32, error=np.int32)
        if not len(self.hit) == len(self.insufficient) == len(self.error):
            raise KernelInputError("hit, insufficient and error have one entry a rule")
        for of in (self.hit, self.insufficient, self.error):
            if len(of) and not NEVER <= of.min() <= of.max() < self.registers:
                raise KernelInputError("a rule reads a register that is not there")
        steps = self.steps
        if len(steps) and steps["op"][0] != Combine.SET:
            raise KernelInputError("a rule program begins with SET")
        if ((steps["source"] == Source.PREDICATE) & (steps["operand"] >= self.columns)).any():
            raise KernelInputError("a predicate reads a bin column that is not there")
        reads_register = steps["source"] == Source.REGISTER
        if (reads_register & (steps["operand"] >= self.registers)).any() or (steps["store"] >= self.registers).any():
            raise KernelInputError("a step uses a register that is not there")

    @cached_property
    def native(self):
        """The table as C reads it."""
        from kernels.native_tables import native_rules

        return made_once(self, native_rules)

    @property
    def rules(self) -> int:
        return len(self.hit)

    @cached_property
    def outputs(self) -> tuple[bool, bool, bool]:
        """Of hit, insufficient and error: whether any rule can say it."""
        hit, insufficient, error = (bool((of > NEVER).any()) for of in (self.hit, self.insufficient, self.error))
        return hit, insufficient, error

    @property
    def words(self) -> int:
        return (len(self.hit) + 63) // 64


@dataclass(frozen=True)
class RuleBits:
    """Bit r % 64 of word r // 64 says it of rule r; each array [B, W] uint64."""

    hit: np.ndarray
    insufficient: np.ndarray
    error: np.ndarray

    def codes(self, rules: int) -> np.ndarray:
        """Return a code a rule, uint8 [B, R]: 1 for a hit, 2 for insufficient history, 3 for an error, else 0.

        A rule has at most one bit on a row.
        """
        # HIT is 01, INSUFFICIENT_HISTORY 10 and ERROR 11: two looks at the bits instead of three
        codes = _unpacked(self.insufficient | self.error, rules)
        codes += codes
        codes += _unpacked(self.hit | self.error, rules)
        return codes


def _unpacked(words: np.ndarray, rules: int) -> np.ndarray:
    if not rules:
        return np.zeros((len(words), 0), np.uint8)
    bytes_ = np.ascontiguousarray(words, "<u8").view(np.uint8)  # lowest byte first on every machine
    return np.unpackbits(bytes_, axis=1, count=rules, bitorder="little")
