"""The typed intermediate representation: numbers, truths, rules, trees and a net, before anything is said of bins.

Nodes live in two tuples, `numbers` and `truths`, and name their operands by position; operands come before their users.
Arithmetic is float32, rounded after each step; comparisons with NaN are false, except NE.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from inference_core.net.quantised import QuantisedNet
from kernels.tables import Arithmetic


class Comparison(enum.StrEnum):
    """As rules write them."""

    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    EQ = "eq"
    NE = "ne"


MIRRORED = {
    Comparison.LT: Comparison.GT, Comparison.LE: Comparison.GE, Comparison.GT: Comparison.LT, Comparison.GE: Comparison.LE,
    Comparison.EQ: Comparison.EQ, Comparison.NE: Comparison.NE,
}  # fmt: skip
"""The comparison that says the same with its operands exchanged."""

# --- numbers -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that float32 can hold, perhaps infinite or NaN."""

    value: float


@dataclass(frozen=True, slots=True)
class Column:
    """A column of x."""

    position: int


@dataclass(frozen=True, slots=True)
class Derived:
    """Two numbers joined by arithmetic."""

    op: Arithmetic
    a: int
    b: int


Number = Constant | Column | Derived

# --- truths --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Always:
    """The same on every row."""

    value: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """A number against one that no row changes."""

    op: Comparison
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class IsMissing:
    """Whether a number is NaN."""

    a: int


@dataclass(frozen=True, slots=True)
class InList:
    """A column of the memberships."""

    position: int


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a truth."""

    a: int


@dataclass(frozen=True, slots=True)
class AllOf:
    """And; true without arguments."""

    args: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Or; false without arguments."""

    args: tuple[int, ...]


Truth = Always | Compare | IsMissing | InList | Not | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class RuleTruths:
    """The truths that say a rule's outcome; at most one of the three holds on a row, and where none does it is no hit."""

    rule_id: str
    hit: int
    insufficient: int
    error: int


# --- trees ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree, breadth-first with siblings side by side. A row goes left where value < threshold, right otherwise.

    Attributes:
        number: place in the model that it was read from, for messages.
        feature: [N] int32 column of x, -1 for a leaf.
        threshold: [N] float32, 0 for a leaf.
        default_left: [N] bool, where a missing value goes.
        left: [N] int32 left child, the right one follows it; a leaf points at itself.
        value: [N] float64, a leaf's value, or the cover-weighted mean of the leaves below.
        cover: [N] float64, weight of the training rows that passed.
        depth: steps from the root to the deepest leaf.
    """

    number: int
    feature: np.ndarray
    threshold: np.ndarray
    default_left: np.ndarray
    left: np.ndarray
    value: np.ndarray
    cover: np.ndarray
    depth: int

    def __post_init__(self) -> None:
        for array in (self.feature, self.threshold, self.default_left, self.left, self.value, self.cover):
            array.setflags(write=False)  # shared between threads and programs


# --- net -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class NetPart:
    """A net beside the trees.

    Attributes:
        net: over features of its own.
        columns: [C] the column of x behind each of them.
        weight: what its total * unit is multiplied by; its base is part of the program's.
    """

    net: QuantisedNet
    columns: tuple[int, ...]
    weight: float

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return what the net adds to the margins of x [B, F] float32, without its base, float64."""
        return self.net.totals(np.ascontiguousarray(x[:, list(self.columns)])) * self.net.unit * self.weight


@dataclass(frozen=True, eq=False)
class ProgramIR:
    """All that a program computes.

    Attributes:
        features: columns of x.
        lists: columns of the memberships.
        numbers, truths: nodes, operands before their users.
        rules: in the order of the outcomes.
        trees: None for a program without a forest.
        base: margin of a forest without trees.
        stored: truths that are worth a register, because several users need them and they take more than one step.
        net: None for a program without one; it stands beside trees.
    """

    features: int
    lists: int
    numbers: tuple[Number, ...]
    truths: tuple[Truth, ...]
    rules: tuple[RuleTruths, ...]
    trees: tuple[Tree, ...] | None
    base: float = 0.0
    stored: frozenset[int] = frozenset()
    net: NetPart | None = None

    def roots(self) -> list[int]:
        """Return the truths that say the rules' outcomes."""
        return [truth for rule in self.rules for truth in (rule.hit, rule.insufficient, rule.error)]


def numbers_under(node: Number | Truth) -> tuple[int, ...]:
    """Return the numbers that a node reads itself."""
    if isinstance(node, Derived | Compare):
        return (node.a, node.b)
    return (node.a,) if isinstance(node, IsMissing) else ()


def truths_under(node: Truth) -> tuple[int, ...]:
    """Return the truths that a node reads itself."""
    if isinstance(node, AllOf | AnyOf):
        return node.args
    return (node.a,) if isinstance(node, Not) else ()
