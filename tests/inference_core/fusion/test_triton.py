"""Generated Triton kernels, in Triton's interpreter and what none of them holds; the benchmark runs them on a real GPU."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inference_core.fusion.gpu.emitter import emit_triton
from inference_core.fusion.ir import NotFusable
from inference_core.fusion.operations import ELEMENTWISE, REDUCTIONS
from tests.inference_core.fusion.generated import INTERPRETED
from tests.inference_core.fusion.graphs import final

ROOT = Path(__file__).resolve().parents[3]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture(scope="module")
def told() -> dict:
    # A process of its own: the interpreter is chosen when a kernel is defined.
    command = [sys.executable, "-W", "ignore", "-m", "tests.inference_core.fusion.check_interpreted"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@needs_triton
@pytest.mark.parametrize("op", [*ELEMENTWISE, *REDUCTIONS])
def test_an_operation_is_pytorchs(told, op):
    assert op not in told["operations"]


@needs_triton
def test_random_functions_give_what_pytorch_gives(told):
    assert told["functions"] == [] and told["left_out"] < INTERPRETED / 5


@needs_triton
def test_the_benchmarks_functions_give_what_pytorch_gives(told):
    assert told["own"] == []


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        (lambda x, w: torch.exp(x) * w, (torch.randn(3, 4, 5), torch.randn(5)), "several dimensions"),
        (lambda x: torch.exp(x).flatten(1).sum(-1), (torch.randn(3, 4, 5),), "several dimensions"),
        (lambda x: torch.softmax(x, -1), (torch.randn(3, 9000),), "do not fit"),
        (lambda x: torch.tanh(x)[:, 2:], (torch.randn(3, 5),), "narrow"),
    ],
)
def test_what_no_program_holds_is_refused(function, arguments, says):
    with pytest.raises(NotFusable, match=says):
        emit_triton(final(function, arguments))


def test_a_large_batch_of_products_is_left_to_the_library():
    x, w = torch.randn(3, 40), torch.randn(20, 40)
    assert emit_triton(final(lambda x, w: torch.relu(x @ w.T), (x, w))).most_rows == 4096
    assert emit_triton(final(lambda x: torch.relu(x) + torch.exp(x), (x,))).most_rows is None
