"""Columns that follow from a row's own values: compiled and reference alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.value_columns import NativeValueColumns, Operation, Recipe, RecipeBook
from kernels.value_columns.reference import ReferenceValueColumns
from tests.strategies import examples

TABLE = np.array([[1, 2], [3, 4], [5, 6], [math.nan, -1]], np.float32)
BOOK = RecipeBook(
    (
        Recipe(Operation.COPY, 0, 0),
        Recipe(Operation.LOOK_UP, 1, 1, table=TABLE),
        Recipe(Operation.PERIODIC, 3, 0, divisor=10, table=TABLE),
        Recipe(Operation.BETWEEN, 5, 0, low=-3, high=7),
        Recipe(Operation.MULTIPLE, 6, 0, low=5),
        Recipe(Operation.DIFFERS, 7, 1, second=2),
    ),
    wide=1,
    narrow=2,
)
FILLERS = pytest.mark.parametrize("of", [NativeValueColumns, ReferenceValueColumns])
_WHOLE = st.one_of(st.integers(-45, 45), st.sampled_from([-(2**63), 2**63 - 1, 2**24 + 1, 10**12]))
_CODE = st.one_of(st.integers(-2, 5), st.sampled_from([-(2**31), 2**31 - 1]))


def filled(values: list[tuple], width: int = BOOK.columns, of=NativeValueColumns) -> np.ndarray:
    wide, first, second = zip(*values, strict=True) if values else ((), (), ())
    out = np.full((len(values), width), 77, np.float32)
    of(BOOK).fill(np.array([wide], np.int64), np.array([first, second], np.int32), out)
    return out


@FILLERS
def test_each_recipe_does_what_it_says(of):
    row = filled([(35, 1, 1), (-1, -1, 4), (5, 3, -1), (7, 9, 8)], of=of)
    np.testing.assert_array_equal(row[:, 0], [35, -1, 5, 7])
    np.testing.assert_array_equal(row[:, 1:3], [[3, 4], [math.nan, -1], [math.nan, -1], [math.nan, -1]])
    np.testing.assert_array_equal(row[:, 3:5], [[math.nan, -1], [math.nan, -1], [1, 2], [1, 2]])
    np.testing.assert_array_equal(row[:, 5], [0, 1, 1, 0])
    np.testing.assert_array_equal(row[:, 6], [1, 0, 1, 0])
    np.testing.assert_array_equal(row[:, 7], [0, math.nan, math.nan, 1])


@examples(150)
@given(values=st.lists(st.tuples(_WHOLE, _CODE, _CODE), max_size=40), wider=st.integers(0, 3))
def test_native_columns_equal_the_reference(values, wider):
    width = BOOK.columns + wider
    assert filled(values, width).tobytes() == filled(values, width, ReferenceValueColumns).tobytes()


@FILLERS
def test_rows_of_a_wider_array_are_filled_and_the_rest_is_left(of):
    out = np.full((600, 12), 77, np.float32)
    whole = np.arange(600, dtype=np.int64).reshape(1, 600)
    of(BOOK).fill(whole, np.repeat(whole, 2, axis=0).astype(np.int32), out[:, 2:])
    assert (out[:, :2] == 77).all() and (out[:, 2 + BOOK.columns :] == 77).all()
    np.testing.assert_array_equal(out[:, 2], np.arange(600))


@FILLERS
@pytest.mark.parametrize(
    ("wide", "narrow", "named"),
    [
        (np.zeros((1, 2), np.int32), np.zeros((2, 2), np.int32), "wide must be"),
        (np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int32), "wide must be"),
        (np.zeros((1, 2), np.int64), np.zeros((2, 2), np.int64), "narrow must be"),
        (np.zeros((1, 2), np.int64), np.zeros((2, 3), np.int32), "narrow must be"),
        (np.zeros((1, 2), np.int64), np.zeros((2, 4), np.int32)[:, ::2], "narrow must be"),
    ],
)
def test_sources_of_other_shape_or_type_are_refused(of, wide, narrow, named):
    with pytest.raises(KernelInputError, match=named):
        of(BOOK).fill(wide, narrow, np.zeros((2, 8), np.float32))


@FILLERS
@pytest.mark.parametrize("out", [np.zeros((2, 7), np.float32), np.zeros((2, 8)), np.zeros((2, 16), np.float32)[:, ::2]])
def test_an_output_that_does_not_fit_is_refused(of, out):
    with pytest.raises(KernelInputError, match="out must be"):
        of(BOOK).fill(np.zeros((1, 2), np.int64), np.zeros((2, 2), np.int32), out)


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        (Recipe(Operation.COPY, 0, 1), "sources are"),
        (Recipe(Operation.COPY, -1, 0), "columns begin at 0"),
        (Recipe(Operation.LOOK_UP, 0, 0), "need a table"),
        (Recipe(Operation.COPY, 0, 0, table=TABLE), "need a table"),
        (Recipe(Operation.LOOK_UP, 0, 0, table=TABLE.astype(np.float64)), "float32"),
        (Recipe(Operation.PERIODIC, 0, 0, table=TABLE, divisor=0), "divisor"),
        (Recipe(Operation.MULTIPLE, 0, 0), "divisor"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(recipe, named):
    with pytest.raises(KernelInputError, match=named):
        RecipeBook((recipe,), 1, 0)
