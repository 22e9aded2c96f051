"""Truths in terms of bins: tests of one bin column joined by and, or. Negation is pushed down to the tests.

The bins that a test accepts are a set of 256 bits. A set that is one run, perhaps around the end, is one step of a rule
program; so is its complement. Tests of one column in one group are joined where the result is such a run again.
"""

from __future__ import annotations

from dataclasses import dataclass

BINS = 256
_ALL = (1 << BINS) - 1


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same on every row."""

    value: bool


@dataclass(frozen=True, slots=True)
class BinTest:
    """Whether the bin of a column is in a set: bit b of `bins` stands for bin b."""

    column: int
    bins: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The truth in a register, or its negation."""

    register: int
    negated: bool


@dataclass(frozen=True, slots=True)
class Shared:
    """A formula that several others use, or its negation; it is computed once, when it is first needed."""

    key: int
    negated: bool


@dataclass(frozen=True, slots=True)
class Group:
    """All of the arguments (`every`), or any of them."""

    every: bool
    args: tuple[Fixed | BinTest | Stored | Shared | Group, ...]


Formula = Fixed | BinTest | Stored | Shared | Group


def bins_between(low: int, high: int) -> int:
    """Return the set of the bins from low to high - 1."""
    return (1 << high) - (1 << low)


def run_of(bins: int) -> tuple[int, int] | None:
    """Return (first bin, how many) of a set that is one run of 1 to 255 bins, perhaps around the end; otherwise None."""
    before = ((bins << 1) | (bins >> (BINS - 1))) & _ALL
    begins = bins & ~before
    if begins.bit_count() != 1:
        return None
    return begins.bit_length() - 1, bins.bit_count()


def negation(of: Formula) -> Formula:
    """Return the formula that holds exactly where `of` does not."""
    if isinstance(of, Fixed):
        return Fixed(not of.value)
    if isinstance(of, BinTest):
        return BinTest(of.column, _ALL & ~of.bins)
    if isinstance(of, Stored):
        return Stored(of.register, not of.negated)
    if isinstance(of, Shared):
        return Shared(of.key, not of.negated)
    return Group(not of.every, tuple(map(negation, of.args)))


def group(every: bool, args: list[Formula]) -> Formula:
    """Return all (or any) of the arguments, simplified."""
    kept: list[Formula] = []
    for arg in args:
        for part in arg.args if isinstance(arg, Group) and arg.every is every else (arg,):
            part = _absorb(every, part, kept)
            if isinstance(part, Fixed):
                if part.value is not every:
                    return part
            elif part not in kept:
                if isinstance(part, Stored | Shared) and negation(part) in kept:
                    return Fixed(not every)
                kept.append(part)
    if len(kept) < 2:
        return kept[0] if kept else Fixed(every)
    return Group(every, tuple(kept))


def _absorb(every: bool, part: Formula, kept: list[Formula]) -> Formula:
    """Join a test with those of its column in `kept`, which it replaces, as long as the result is one run."""
    if not isinstance(part, BinTest):
        return part
    for other in [of for of in kept if isinstance(of, BinTest) and of.column == part.column]:
        bins = part.bins & other.bins if every else part.bins | other.bins
        if bins in (0, _ALL):
            return Fixed(bins != 0)
        if run_of(bins) is not None:
            kept.remove(other)
            part = BinTest(part.column, bins)
    return part
