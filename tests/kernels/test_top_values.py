"""The contract of the k largest values of a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import KernelInputError
from kernels.top_values import reference, top_values
from tests.strategies import examples

BOTH = pytest.mark.parametrize("function", [top_values, reference.top_values])
# Few different values, so that most rows hold ties.
VALUES = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 2.0, np.inf, np.nan])


@examples(100)
@given(
    st.integers(1, 7).flatmap(
        lambda width: st.tuples(st.lists(st.lists(VALUES, min_size=width, max_size=width), max_size=5), st.integers(1, width))
    )
)
def test_compiled_kernel_equals_the_reference(case):
    rows, k = case
    x = np.array(rows, np.float32).reshape(len(rows), -1 if rows else k)
    for ours, truth in zip(top_values(x, k), reference.top_values(x, k), strict=True):
        assert ours.dtype == truth.dtype
        np.testing.assert_array_equal(ours, truth)


@BOTH
def test_largest_come_first_and_ties_go_to_the_lower_column(function):
    position, value = function(np.array([[1, 3, 2, 3, -5]], np.float32), 4)
    assert position.tolist() == [[1, 3, 2, 0]] and value.tolist() == [[3, 3, 2, 1]]


@BOTH
def test_values_that_are_not_known_are_never_chosen(function):
    position, value = function(np.array([[np.nan, 1, -np.inf], [np.nan] * 3], np.float32), 2)
    assert position.tolist() == [[1, -1], [-1, -1]]
    assert value.tolist() == [[1, -np.inf], [-np.inf, -np.inf]]


@pytest.mark.parametrize(
    ("x", "k"),
    [(np.zeros((2, 3)), 1), (np.zeros((2, 3), np.float32), 4), (np.zeros((2, 3), np.float32), 0), (np.zeros(3, np.float32), 1),
     (np.zeros((2, 6), np.float32)[:, ::2], 1)],
)  # fmt: skip
def test_what_does_not_fit_is_refused(x, k):
    with pytest.raises(KernelInputError):
        top_values(x, k)
