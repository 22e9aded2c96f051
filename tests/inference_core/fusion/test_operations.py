"""Every operation of the tables, in C, on numbers of all sizes and the special ones: what PyTorch answers."""

from __future__ import annotations

import pytest
import torch

from inference_core.fusion.interpret import evaluate
from inference_core.fusion.operations import ELEMENTWISE, REDUCTIONS
from tests.inference_core.fusion.graphs import one_operation, one_reduction, run_on_cpu, special_rows

pytestmark = pytest.mark.needs_compiler
# Units in the last place; PyTorch's own functions are up to two from the truth.
ULP = 2.0**-23
WIDTHS = (1, 5, 16, 37)


def operands(op: str, width: int) -> list[torch.Tensor]:
    arity = ELEMENTWISE[op].arity if op in ELEMENTWISE else 1
    rows = special_rows(width, arity)
    if op in ("logical_and", "logical_or", "logical_not", "number"):
        return [x > 0 for x in rows]
    return [rows[0] > 0, *rows[1:]] if op == "where" else rows


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_an_operation_on_elements_is_pytorchs(op, width, tmp_path):
    arguments, graph = operands(op, width), one_operation(op, width)
    (expected,) = evaluate(graph, arguments)
    got = run_on_cpu(graph, arguments, tmp_path)
    assert got.dtype == expected.dtype
    if got.dtype == torch.bool:
        assert torch.equal(got, expected)
    else:
        # exp's subnormal results may be off by one of their own steps.
        torch.testing.assert_close(got, expected, rtol=8 * ULP, atol=1e-44, equal_nan=True)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("op", REDUCTIONS)
def test_a_reduction_is_pytorchs(op, width, tmp_path):
    graph = one_reduction(op, width)
    (x,) = special_rows(width, 1)
    if op in ("sum", "prod"):  # of numbers of one size: what is left of large ones depends on the order
        x = torch.where(x.isfinite(), torch.tanh(x), x)
    if op == "prod":  # infinity times what became zero on the way depends on the order, too
        x = torch.where(x.isinf(), 1.0, x)
    (expected,) = evaluate(graph, [x])
    got = run_on_cpu(graph, [x], tmp_path)
    assert got.dtype == expected.dtype
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("op", ["argmin", "argmax"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_of_equals_and_the_first_nan_are_chosen(op, width, tmp_path):
    x = torch.randint(-2, 3, (200, width), generator=torch.Generator().manual_seed(1)).float()
    x[::3, width // 2 :] = float("nan")
    x[::5, 0] = float("-inf")
    graph = one_reduction(op, width)
    assert torch.equal(run_on_cpu(graph, [x], tmp_path), evaluate(graph, [x])[0])
