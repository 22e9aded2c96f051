"""Every operation of the tables, in C, on numbers of all sizes and the special ones: what PyTorch answers."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
import torch

from inference_core.fusion.interpret import evaluate
from inference_core.fusion.operations import ELEMENTWISE, POSITIONS, REDUCTIONS
from tests.inference_core.fusion.graphs import every_operation, run_on_cpu, special_rows

pytestmark = pytest.mark.needs_compiler
# Units in the last place; PyTorch's own functions are up to two from the truth.
ULP = 2.0**-23
WIDTHS = (1, 5, 37)


@functools.cache
def answers(width: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return operation -> (what C answers, what PyTorch does); one kernel for all, which takes a compiler a second."""
    graph, names = every_operation(width)
    numbers = special_rows(width, 3)
    # Sums and products of numbers of one size: what is left of large ones, or of infinity times zero, depends on the order.
    tame = torch.where(numbers[0].isinf(), 1.0, torch.tanh(numbers[0]))
    tied = torch.randint(-2, 3, numbers[0].shape, generator=torch.Generator().manual_seed(1)).float()
    tied[::3, width // 2 :] = float("nan")
    tied[::5, 0] = float("-inf")
    arguments = [*numbers, *(x > 0 for x in numbers[:2]), tame, tied]
    with tempfile.TemporaryDirectory() as folder:
        got = run_on_cpu(graph, arguments, Path(folder))
    return dict(zip(names, zip(got, evaluate(graph, arguments), strict=True), strict=True))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_an_operation_on_elements_is_pytorchs(op, width):
    got, expected = answers(width)[op]
    assert got.dtype == expected.dtype
    if got.dtype == torch.bool:
        assert torch.equal(got, expected)
    else:
        # exp's subnormal results may be off by one of their own steps.
        torch.testing.assert_close(got, expected, rtol=8 * ULP, atol=1e-44, equal_nan=True)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("op", [op for op in REDUCTIONS if op not in POSITIONS])
def test_a_reduction_is_pytorchs(op, width):
    got, expected = answers(width)[op]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("op", POSITIONS)
def test_the_first_of_equals_and_the_first_nan_are_chosen(op, width):
    got, expected = answers(width)[op]
    assert got.dtype == torch.int64 and torch.equal(got, expected)
