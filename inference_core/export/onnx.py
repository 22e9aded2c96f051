"""A whole program as one ONNX model for edge devices: rules, forest, net and calibration.

Inputs: x [B, F] float32, NaN where a value is missing, and memberships [B, L] bool where the program has lists. Outputs: margin
[B] float32, probability [B] float32, and rule_outcomes [B, R] uint8. Rules and the net's totals are exact; the forest's sum is
in float32 in most runtimes, so that a margin may differ from the program's own by some millionths.
Needs the package onnx (the extra `export`).
"""

from __future__ import annotations

import numpy as np

from inference_core.compiler.lower import lower_program
from inference_core.errors import ProgramError
from inference_core.export.forest import write_forest
from inference_core.export.graph import GraphWriter
from inference_core.export.net import write_net
from inference_core.export.rules import write_rules
from inference_core.program import RiskProgram


def program_to_onnx(program: RiskProgram, *, reduced: bool = False) -> bytes:
    """Return the model as bytes.

    Args:
        reduced: without the net.

    Raises:
        ProgramError: the program has neither rules nor a forest, or no reduced form.
    """
    if reduced and not program.has_reduced:
        raise ProgramError(f"program {program.version} has no net, and so no reduced form")
    if program.forest is None and not program.rules:
        raise ProgramError(f"program {program.version} has neither rules nor a forest: there is nothing to export")
    graph = GraphWriter()
    x = graph.given("x", np.float32, "rows", program.schema.width)
    memberships = graph.given("memberships", np.bool_, "rows", len(program.list_names)) if program.list_names else None
    if program.forest is not None:
        margin = _margin(graph, program, x, reduced)
        graph.result("margin", graph.cast(margin, np.float32), np.float32, "rows")
        graph.result("probability", _probability(graph, program, margin), np.float32, "rows")
    if program.rules:
        ir = lower_program(program.schema, program.rules, program.list_names, None, 0.0)
        graph.result("rule_outcomes", write_rules(graph, ir, x, memberships), np.uint8, "rows", len(program.rules))
    told = {"version": program.version, "feature_schema": program.schema.version, "features": "\n".join(program.schema.names)}
    return graph.model("risk_program", told).SerializeToString()


def _margin(graph: GraphWriter, program: RiskProgram, x: str, reduced: bool) -> str:
    """Return [B] float64."""
    forest, blend, net = program.forest, program.blend, program.net
    assert forest is not None
    if blend is None or net is None:
        weight, base = 1.0, forest.base
    elif reduced:
        weight, base = blend.reduced_weight, blend.reduced_weight * forest.base + blend.offset
    else:
        weight, base = blend.forest_weight, blend.forest_weight * forest.base + blend.net_weight * net.base + blend.offset
    margin = graph.cast(write_forest(graph, x, forest.trees, weight), np.float64)
    if blend is not None and net is not None and not reduced:
        own = graph.columns(x, [program.schema.index(name) for name in net.feature_names])
        totals = graph.cast(write_net(graph, own, net), np.float64)
        margin = graph.add("Add", margin, graph.add("Mul", totals, graph.constant(blend.net_weight * net.unit, np.float64)))
    margin = graph.add("Add", margin, graph.constant(base, np.float64))
    return graph.add("Reshape", margin, graph.constant([-1], np.int64))


def _probability(graph: GraphWriter, program: RiskProgram, margin: str) -> str:
    slope, intercept = (graph.constant(of, np.float64) for of in (program.calibration.slope, program.calibration.intercept))
    return graph.cast(graph.add("Sigmoid", graph.add("Add", graph.add("Mul", margin, slope), intercept)), np.float32)
