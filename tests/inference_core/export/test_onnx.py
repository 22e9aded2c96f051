"""An exported program in ONNX Runtime, beside our own executor: rules and the net exactly, margins to some millionths."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from inference_core import Blend, Outcome, ProgramError, Rule
from inference_core.export import program_to_onnx
from inference_core.export.graph import GraphWriter
from inference_core.export.net import write_net
from tests.inference_core.net.nets import random_net, random_rows
from tests.inference_core.programs import RULES, X, program
from tests.inference_core.test_program_with_net import BLEND, net, rows

LARGEST_DIFFERENCE = 5e-6


def run(model: bytes, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return dict(zip((of.name for of in session.get_outputs()), session.run(None, inputs), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_net_gives_its_totals(seed):
    rng = np.random.default_rng(seed)
    of = random_net(rng, ("a", "b", "c", "d"), 5, (64, 192, 64)[: 2 + seed % 2], thresholds=(3, 40, 9)[: 2 + seed % 2])
    x = random_rows(rng, of, 200)
    graph = GraphWriter()
    graph.result("totals", write_net(graph, graph.given("x", np.float32, "rows", 4), of), np.int32, "rows", 1)
    given = run(graph.model("net", {}).SerializeToString(), x=x)
    np.testing.assert_array_equal(given["totals"][:, 0], of.totals(x))


@pytest.mark.parametrize("reduced", [False, True])
def test_a_whole_program_scores_as_ours_does(reduced):
    ours = program(net=net(), blend=BLEND)
    x, lists = rows(net(), 2000), np.random.default_rng(2).random((2000, 1)) < 0.3
    given = run(program_to_onnx(ours, reduced=reduced), x=x, memberships=lists)
    expected = ours.score(x, lists, reduced=reduced)
    assert np.abs(given["margin"] - expected.margin).max() < LARGEST_DIFFERENCE
    probability = ours.calibration.probability(expected.margin)
    assert np.abs(given["probability"] - probability).max() < LARGEST_DIFFERENCE
    np.testing.assert_array_equal(given["rule_outcomes"], expected.bits.codes(len(ours.rules)))


def everything() -> tuple[Rule, ...]:
    """Rules of every operation, whose verdicts are of all four kinds."""
    amount, count, one = {"feature": "amount"}, {"feature": "count"}, {"number": 1}

    def of(op: str, *args: dict) -> dict:
        return {"op": op, "args": list(args)}

    whens = [
        of(op, of(arithmetic, amount, count), {"number": number})
        for op in ("lt", "le", "gt", "ge", "eq", "ne")
        for arithmetic, number in (("add", 52), ("subtract", 49), ("multiply", 300), ("divide", 50))
    ]
    large, some = of("gt", amount, {"number": 100}), of("ge", count, one)
    whens += [of("lt", amount, count), of("eq", one, one), of("not", {"in_list": "blocked"})]
    whens += [of("and", large, some), of("or", large, of("not", some), {"in_list": "blocked"})]
    requires = [None, of("not", of("is_missing", count)), of("gt", of("divide", amount, count), one)]
    return tuple(
        Rule(f"r{i}_{j}", 1, when, required, Outcome.REVIEW, 0.1, "r", "test")
        for i, when in enumerate(whens)
        for j, required in enumerate(requires)
    )


def test_every_operation_of_rules_is_exported():
    ours = program(rules=everything())
    x = np.concatenate([X, rows(net(), 300)])
    lists = np.random.default_rng(2).random((len(x), 1)) < 0.3
    codes = run(program_to_onnx(ours), x=x, memberships=lists)["rule_outcomes"]
    np.testing.assert_array_equal(codes, ours.run(x, lists).rule_outcomes)
    assert set(np.unique(codes)) == {0, 1, 2, 3}


def test_rules_alone_and_a_forest_alone_are_exported():
    alone = run(program_to_onnx(program(forest=None, rules=RULES[:1], list_names=())), x=X)
    assert set(alone) == {"rule_outcomes"}
    forest = program(rules=(), list_names=())
    given = run(program_to_onnx(forest), x=X)
    assert set(given) == {"margin", "probability"}
    np.testing.assert_allclose(given["margin"], forest.score(X).margin, atol=LARGEST_DIFFERENCE)


def test_what_cannot_be_exported_is_said():
    with pytest.raises(ProgramError, match="no reduced form"):
        program_to_onnx(program(), reduced=True)
    with pytest.raises(ProgramError, match="nothing to export"):
        program_to_onnx(program(forest=None, rules=(), list_names=()))


def test_a_net_that_weighs_nothing_changes_nothing():
    x = rows(net(), 100)
    with_net = run(program_to_onnx(program(net=net(), blend=Blend(1.0, 0.0), rules=(), list_names=())), x=x)
    without = run(program_to_onnx(program(rules=(), list_names=())), x=x)
    np.testing.assert_allclose(with_net["margin"], without["margin"], atol=1e-6)
