"""Columns of float32 that follow from a row's own values, by recipes: a batch of one costs one call.

The contract
------------
Sources are whole numbers: the rows of two arrays, int64 [W, n] and int32 [N, n]; source s is a row of the first where s < W, else
row s - W of the second. A negative number is "not known" where a recipe says so. Recipes:

* COPY: the number, rounded to float32.
* LOOK_UP: row `value` of a table [rows + 1, width]; its last row is for a value that is negative or beyond the others.
* PERIODIC: row floor(value / divisor) modulo rows of a table [rows, width].
* BETWEEN: 1 where low <= value < high, else 0.
* MULTIPLE: 1 where the value is positive and a multiple of `low`, else 0.
* DIFFERS: 1 where two sources differ, 0 where they are equal, NaN where one is negative.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import address, library, typed_libraries

# More rows than this take long enough to let other threads run meanwhile.
_BRIEF = 512


class Operation(IntEnum):
    """What a recipe does; the numbers are those of cpu.c."""

    COPY = 0
    LOOK_UP = 1
    PERIODIC = 2
    BETWEEN = 3
    MULTIPLE = 4
    DIFFERS = 5


@dataclass(frozen=True)
class Recipe:
    """How some columns come out of one source, or of two.

    Attributes:
        column: the first that is written.
        source, second: positions among the sources; `second` for DIFFERS alone.
        low, high: the bounds of BETWEEN; `low` is what MULTIPLE divides by.
        divisor: of PERIODIC.
        table: float32 [rows + 1, width] for LOOK_UP, [rows, width] for PERIODIC: so many columns are written.
    """

    operation: Operation
    column: int
    source: int
    second: int = 0
    low: int = 0
    high: int = 0
    divisor: int = 1
    table: np.ndarray | None = None

    @property
    def width(self) -> int:
        """How many columns it writes."""
        return 1 if self.table is None else self.table.shape[1]

    @property
    def uses_table(self) -> bool:
        return self.operation in (Operation.LOOK_UP, Operation.PERIODIC)

    def check(self, sources: int) -> None:
        """Raise KernelInputError where it cannot be followed."""
        table = self.table
        if (table is not None) != self.uses_table:
            raise KernelInputError(f"{self.operation.name}: LOOK_UP and PERIODIC need a table, the others have none")
        if table is not None and (table.dtype != np.float32 or table.ndim != 2 or not table.size):
            raise KernelInputError(f"a table must be float32 [rows, width] with rows; got {table.dtype} {table.shape}")
        if not (0 <= self.source < sources and 0 <= self.second < sources and self.column >= 0):
            raise KernelInputError(f"{self.operation.name}: sources are 0 to {sources - 1}, and columns begin at 0")
        if self.divisor < 1 or (self.operation == Operation.MULTIPLE and self.low < 1):
            raise KernelInputError(f"{self.operation.name}: a divisor must be at least 1")


@dataclass(frozen=True)
class RecipeBook:
    """Recipes, and how many sources of either type they are for."""

    recipes: tuple[Recipe, ...]
    wide: int
    narrow: int

    def __post_init__(self) -> None:
        for recipe in self.recipes:
            recipe.check(self.wide + self.narrow)

    @functools.cached_property
    def columns(self) -> int:
        """One more than the last column that is written."""
        return max((recipe.column + recipe.width for recipe in self.recipes), default=0)

    def check(self, wide: np.ndarray, narrow: np.ndarray, out: np.ndarray) -> None:
        """Raise KernelInputError unless the arrays are those of the contract."""
        rows = len(out)
        if out.dtype != np.float32 or out.ndim != 2 or out.shape[1] < self.columns or (out.size and out.strides[1] != 4):
            raise KernelInputError(f"out must be float32 [n, >= {self.columns}], rows contiguous; got {out.dtype} {out.shape}")
        if wide.dtype != np.int64 or wide.shape != (self.wide, rows) or not wide.flags.c_contiguous:
            raise KernelInputError(f"wide must be C-contiguous int64 [{self.wide}, {rows}]; got {wide.dtype} {wide.shape}")
        if narrow.dtype != np.int32 or narrow.shape != (self.narrow, rows) or not narrow.flags.c_contiguous:
            raise KernelInputError(
                f"narrow must be C-contiguous int32 [{self.narrow}, {rows}]; got {narrow.dtype} {narrow.shape}"
            )


class _Recipe(ctypes.Structure):
    _fields_ = [
        ("operation", ctypes.c_int32), ("source", ctypes.c_int32), ("second", ctypes.c_int32), ("column", ctypes.c_int32),
        ("width", ctypes.c_int32), ("pad", ctypes.c_int32), ("low", ctypes.c_int64), ("high", ctypes.c_int64),
        ("first", ctypes.c_int64),
    ]  # fmt: skip


class ValueColumns(Protocol):
    """The columns of one book of recipes; may be used by several threads at once."""

    book: RecipeBook

    def fill(self, wide: np.ndarray, narrow: np.ndarray, out: np.ndarray) -> None:
        """Write the columns of n rows.

        Args:
            wide, narrow: the sources, C-contiguous int64 [W, n] and int32 [N, n].
            out: float32 [n, >= columns of the book], rows contiguous.

        Raises:
            KernelInputError: a shape or dtype is another one.
        """


def open_value_columns(book: RecipeBook) -> ValueColumns:
    """Return what fills float32 columns by these recipes: compiled where possible, else the reference."""
    if library() is None:
        from kernels.value_columns.reference import ReferenceValueColumns

        return ReferenceValueColumns(book)
    return NativeValueColumns(book)


class NativeValueColumns:
    """The columns as cpu.c fills them."""

    def __init__(self, book: RecipeBook) -> None:
        self.book = book
        self._recipes, self._tables = _for_native(book)
        self._fixed = (len(book.recipes), ctypes.addressof(self._recipes), self._tables.ctypes.data, book.wide)
        self._brief, self._long = _calls()

    def fill(self, wide: np.ndarray, narrow: np.ndarray, out: np.ndarray) -> None:
        self.book.check(wide, narrow, out)
        if rows := len(out):
            call = self._long if rows > _BRIEF else self._brief
            call(*self._fixed, rows, address(wide), address(narrow), out.strides[0] // 4, address(out))


@functools.cache
def _calls() -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the function for few rows, which keeps the interpreter lock, and the one for many."""
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    arguments = [whole, pointer, pointer, whole, whole, pointer, pointer, whole, pointer]
    brief, long = typed_libraries({"value_columns": (arguments, None)})
    return brief.value_columns, long.value_columns


def _for_native(book: RecipeBook) -> tuple[ctypes.Array, np.ndarray]:
    """Return the recipes as the C code reads them, and their tables end to end."""
    recipes, tables, first = (_Recipe * max(1, len(book.recipes)))(), [np.empty(0, np.float32)], 0
    for to, of in zip(recipes, book.recipes, strict=False):
        to.operation, to.source, to.second, to.column, to.width = of.operation, of.source, of.second, of.column, of.width
        to.low, to.high, to.first = of.low, of.high, first
        if of.table is not None:
            to.high = len(of.table) - (of.operation == Operation.LOOK_UP)
            to.low = of.divisor
            tables.append(np.ascontiguousarray(of.table).reshape(-1))
            first += of.table.size
    return recipes, np.concatenate(tables)
