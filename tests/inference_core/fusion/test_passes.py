"""After every pass a graph says the same as before it, and each pass does what it is there for."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from inference_core.fusion import passes
from inference_core.fusion.interpret import evaluate
from inference_core.fusion.ir import Graph
from inference_core.fusion.pipeline import PASSES, stages
from tests.inference_core.fusion.generated import generated, wrong
from tests.inference_core.fusion.graphs import recorded
from tests.strategies import examples

NAMES = [module.name for module in pkgutil.iter_modules(passes.__path__)]


def after(name: str, function: Callable, *arguments: torch.Tensor) -> tuple[Graph, str]:
    """Return the graph after the pass of this name, and what the pass says."""
    names = [step.__name__.split(".")[-1] for step in PASSES]
    return dict(zip(names, stages(recorded(function, arguments)), strict=True))[name]


def operations(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes if node.varies and node.op != "argument"]


def test_the_pipeline_runs_every_pass_of_the_folder():
    assert sorted(step.__name__.split(".")[-1] for step in PASSES) == sorted(NAMES)


@examples(100)
@given(seed=st.integers(0, 10_000), rows=st.sampled_from([0, 1, 7]))
def test_a_graph_says_the_same_after_each_pass(seed, rows):
    case = generated(seed)
    arguments = case.arguments(rows, seed, missing=0.02)
    graph = recorded(case.function, arguments)
    for stage, account in [(graph, "recorded"), *stages(graph)]:
        results = evaluate(stage, arguments)
        fault = wrong(results[0] if stage.single else tuple(results), case.function, arguments)
        assert fault is None, (account, fault, case.steps)
        assert all(arg < at for at, node in enumerate(stage.nodes) for arg in node.args)


def test_a_pass_that_changes_a_number_is_found_out():
    case = generated(11)
    arguments = case.arguments(7, 11)
    shifted = [one + 1e-3 if one.is_floating_point() else one for one in arguments]
    graph = recorded(case.function, arguments)
    results = evaluate(graph, shifted)
    assert wrong(results[0] if graph.single else tuple(results), case.function, arguments) is not None


# --- what each pass is for -----------------------------------------------------------------------------------------------


def takes_composites_apart() -> None:
    graph, account = after("decompose", lambda x: torch.softmax(x, -1), torch.randn(3, 4))
    assert "softmax" not in operations(graph) and {"amax", "exp", "sum", "div"} <= set(operations(graph))
    assert account == "decompose: softmax taken apart"
    image, channel = torch.randn(2, 3, 4, 4), torch.rand(3)
    graph, _ = after("decompose", lambda x, m, v: F.batch_norm(x, m, v), image, channel, channel)
    assert operations(graph) == ["mul", "add"], "all else of it does not vary"


def folds_into_layers() -> None:
    def function(x, w, b, mean, variance):
        return F.relu(F.batch_norm(F.conv2d(x, w, b), mean, variance))

    channel, image = torch.rand(5), torch.randn(2, 3, 4, 4)
    graph, account = after("affine_folding", function, image, torch.randn(5, 3, 2, 2), channel, channel, channel)
    assert operations(graph) == ["conv2d", "maximum"]
    assert account == "affine_folding: mul into conv2d, add into conv2d"
    x, w = torch.randn(2, 3), torch.randn(4, 3)
    graph, _ = after("affine_folding", lambda x, w, s: (F.linear(x, w) - s) * 2, x, w, torch.randn(4))
    assert operations(graph) == ["linear"]
    both, _ = after("affine_folding", lambda x, w: (F.linear(x, w), F.linear(x, w) * 2), x, w)
    assert operations(both) == ["linear", "linear"], "each has one reader"
    read_twice, _ = after("affine_folding", lambda x, w: _twice(F.linear(x, w)), x, w)
    assert operations(read_twice).count("mul") == 1, "the other reader wants it as it was"
    by_row, _ = after("affine_folding", lambda x, w, s: F.linear(x, w) * s, x, w, torch.randn(2, 4))
    assert operations(by_row) == ["linear", "mul"], "a factor that varies is no constant"


def _twice(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x) + x * 2


def leaves_out_what_does_nothing() -> None:
    graph, _ = after("simplify", lambda x: torch.neg(-((x * 1 - 0) / 1)) * 2.0, torch.randn(3, 4))
    assert operations(graph) == ["mul"]
    graph, _ = after("simplify", lambda x: x + 0, torch.randn(3, 4))
    assert operations(graph) == ["add"], "-0.0 + 0 is 0.0"
    graph, _ = after("simplify", lambda x: F.gelu(x), torch.randn(3, 4))
    assert operations(graph).count("mul") == 3


def works_out_once() -> None:
    graph, account = after("common_subexpressions", lambda x: torch.exp(x) / (1 + torch.exp(x)), torch.randn(3, 4))
    assert operations(graph).count("exp") == 1 and account == "common_subexpressions: 1 joined"
    graph, _ = after("common_subexpressions", lambda x: torch.where(x > 0.0, 0.0, -0.0) + x, torch.randn(3, 4))
    zeros = [node.value for node in graph.nodes if node.op == "constant"]
    assert len(zeros) == 2, "0.0 and -0.0 are two numbers"


EFFECTS: dict[str, Callable[[], None]] = {
    "decompose": takes_composites_apart, "affine_folding": folds_into_layers, "simplify": leaves_out_what_does_nothing,
    "common_subexpressions": works_out_once,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_pass_does_what_it_is_for(name):
    assert name in EFFECTS, f"write down in EFFECTS what the pass {name} is for"
    EFFECTS[name]()
