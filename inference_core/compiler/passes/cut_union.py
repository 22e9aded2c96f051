"""Cut union: the thresholds of forest, rules and net on a feature are one ascending list; what nothing tests gets no column."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference_core.compiler.draft import CutPlan, Draft, SourceCuts
from inference_core.compiler.ir import Column, Compare, Derived, IsMissing, ProgramIR
from inference_core.compiler.ranges import range_of
from kernels.tables import MAX_CUTS


def run(draft: Draft) -> tuple[Draft, str]:
    """Return the draft with its cuts; more than MAX_CUTS of a feature are spread over several bin columns."""
    ir = draft.ir
    derived = tuple(i for i, node in enumerate(ir.numbers) if isinstance(node, Derived))
    thresholds = _of_trees(ir)
    for of_part in (_of_rules(ir, derived), _of_net(ir)):
        for source, cuts in of_part.items():
            thresholds[source] = np.concatenate([thresholds.get(source, np.zeros(0, np.float32)), cuts])
    sources: list[SourceCuts] = []
    column = 0
    for source in sorted(thresholds):
        # -0.0 becomes 0.0, which it equals
        sources.append(SourceCuts(source, np.unique(thresholds[source] + np.float32(0)), column))
        column += sources[-1].columns
    cuts = CutPlan(derived, tuple(sources))
    spread = sum(len(of.cuts) > MAX_CUTS for of in sources)
    total = sum(len(of.cuts) for of in sources)
    account = f"cut_union: {total} cuts of {len(sources)} features and derived columns in {column} bin columns; {spread} spread"
    return replace(draft, cuts=cuts), account


def _of_trees(ir: ProgramIR) -> dict[int, np.ndarray]:
    if not ir.trees:
        return {}
    feature = np.concatenate([tree.feature for tree in ir.trees])
    threshold = np.concatenate([tree.threshold for tree in ir.trees])
    return {int(of): np.unique(threshold[feature == of]) for of in np.unique(feature[feature >= 0])}


def _of_net(ir: ProgramIR) -> dict[int, np.ndarray]:
    """A feature without edges is here too: whether it is missing tells something."""
    return {} if ir.net is None else dict(zip(ir.net.columns, ir.net.net.edges, strict=True))


def _of_rules(ir: ProgramIR, derived: tuple[int, ...]) -> dict[int, np.ndarray]:
    place = {number: ir.features + i for i, number in enumerate(derived)}
    found: dict[int, list[float]] = {}
    for node in ir.truths:
        if isinstance(node, Compare | IsMissing):
            number = ir.numbers[node.a]
            source = number.position if isinstance(number, Column) else place[node.a]
            found.setdefault(source, []).extend(range_of(ir, node).cuts)
    return {source: np.array(cuts, np.float32) for source, cuts in found.items()}
