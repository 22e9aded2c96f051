"""Random functions of everything that is fused give what PyTorch gives, for any number of rows and one compilation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference_core.fusion import deepseek_fuse
from inference_core.fusion.cost import judge
from inference_core.fusion.ir import NotFusable
from tests.inference_core.fusion.generated import generated, wrong
from tests.inference_core.fusion.graphs import final, recorded
from tests.strategies import examples

pytestmark = pytest.mark.needs_compiler
ROWS = (3, 0, 1, 64, 129)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fused")


@examples(60)
@given(seed=st.integers(0, 10_000))
def test_a_random_function_gives_what_pytorch_gives(folder, seed):
    case = generated(seed)
    fused = deepseek_fuse(case.function, folder=folder)
    for at, rows in enumerate(ROWS):
        arguments = case.arguments(rows, seed + at, missing=0.05 if at % 2 else 0.0)
        assert wrong(fused(*arguments), case.function, arguments) is None, (seed, rows, case.steps)
    reasons = " ".join(fused.fused.untouched)
    fits = fused.fused.compilations == 1 if not reasons else "nothing" in reasons or "no bytes" in reasons
    assert fits, (fused.explain(), case.steps)


def test_nearly_all_random_functions_are_fused():
    """Or the property above would say little."""
    fused = 0
    for seed in range(200):
        case = generated(seed)
        arguments = case.arguments(4, seed)
        try:
            judge(recorded(case.function, arguments), final(case.function, arguments), 2)
            fused += 1
        except NotFusable:
            continue
    assert fused >= 170


def test_a_wrong_result_is_found():
    case = generated(3)
    arguments = case.arguments(5, 1)
    right = case.function(*arguments)
    first = right[0] if isinstance(right, tuple) else right
    shifted = (first + 1e-3 * first.abs().max(), *right[1:]) if isinstance(right, tuple) else first + 1e-3 * first.abs().max()
    assert wrong(right, case.function, arguments) is None
    assert "off by" in wrong(shifted, case.function, arguments)


def test_two_threads_give_the_bits_of_one(folder):
    before = torch.get_num_threads()
    fused = deepseek_fuse(lambda x: torch.log1p(x.abs()) * torch.sigmoid(x), folder=folder)
    x = torch.randn(5003, 41)
    try:
        torch.set_num_threads(1)
        one = fused(x)
        torch.set_num_threads(2)
        assert torch.equal(one, fused(x))
    finally:
        torch.set_num_threads(before)
