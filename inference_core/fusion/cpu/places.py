"""Where values lie while a block of rows is worked on, and how C reaches them."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Rows of at most so many elements lie side by side, element by element, so that vectors hold rows.
NARROW = 16

Index = tuple[str, ...]
"""A place in a row as C expressions, one for each dimension."""


@dataclass(frozen=True)
class Place:
    """Element i of row r is at name[r * by_row + i . strides + start].

    Attributes:
        uniform: the stride of a flat position in the row, or None where lines have something behind them.
    """

    name: str
    by_row: int
    strides: tuple[int, ...]
    uniform: int | None
    start: int = 0

    def element(self, index: Index) -> str:
        """Return the C expression of an element of row r."""
        parts = [f"r * {self.by_row}"] if self.by_row else []
        parts += [f"({i}) * {s}" for i, s in zip(index, self.strides, strict=True) if i != "0"]
        parts += [str(self.start)] if self.start else []
        return f"{self.name}[{' + '.join(parts) or '0'}]"

    def flat(self, position: str) -> str:
        """Return the C expression of an element of row r by its flat position."""
        return f"{self.name}[r * {self.by_row} + {position} * {self.uniform} + {self.start}]"

    def row(self) -> str:
        """Return the C expression of the address of row r."""
        return f"{self.name} + r * {self.by_row} + {self.start}"


def strides(row: tuple[int, ...], step: int = 1) -> tuple[int, ...]:
    """Return the strides of a row whose elements are `step` apart."""
    return tuple(step * math.prod(row[d + 1 :]) for d in range(len(row)))


def indices_of(row: tuple[int, ...]) -> list[Index]:
    """Return every index of a row, in order."""
    found: list[Index] = [()]
    for size in row:
        found = [(*index, str(i)) for index in found for i in range(size)]
    return found
