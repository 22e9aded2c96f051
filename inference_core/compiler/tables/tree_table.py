"""The table of trees: thresholds become ranks among the cuts, values become fixed-point integers."""

from __future__ import annotations

import math

import numpy as np

from inference_core.compiler.draft import CutPlan
from inference_core.compiler.ir import ProgramIR, Tree
from inference_core.errors import ProgramError
from kernels.tables import MAX_TREE_COLUMNS, TreeTable

_MAX_SCALE = 62


def tree_table(ir: ProgramIR, cuts: CutPlan) -> TreeTable | None:
    """Return the trees one after the other, or None for a program without a forest.

    Raises:
        ProgramError: the cuts need more bin columns than a table of trees can name.
    """
    if ir.trees is None:
        return None
    if cuts.columns > MAX_TREE_COLUMNS:
        raise ProgramError(
            f"forest and rules need {cuts.columns} bin columns, and a forest's table has at most {MAX_TREE_COLUMNS}: "
            "use fewer features, or coarser thresholds"
        )
    sizes = [len(tree.feature) for tree in ir.trees]
    roots = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)[:-1]
    feature = _joined(ir.trees, "feature", np.int32)
    value = _joined(ir.trees, "value", np.float64)
    shift = _joined(ir.trees, "default_left", np.uint8)
    column, rank = _tests(feature, _joined(ir.trees, "threshold", np.float32), cuts)
    scale = fixed_point_scale(value)
    return TreeTable(
        column=column,
        shift=shift,
        rank=np.where(column >= 0, rank + shift, 0),
        left=_joined(ir.trees, "left", np.int64) + np.repeat(roots, sizes),
        value=np.rint(value * 2.0**scale),
        feature=feature,
        roots=roots,
        depth=np.array([tree.depth for tree in ir.trees], np.int32),
        scale=scale,
        base=ir.base,
        features=ir.features,
        columns=cuts.columns,
    )


def node_covers(ir: ProgramIR) -> np.ndarray | None:
    """Return [N] float64 covers of the nodes in the order of `tree_table`, or None for a program without a forest."""
    return None if ir.trees is None else _joined(ir.trees, "cover", np.float64)


def fixed_point_scale(values: np.ndarray) -> int:
    """Return the most binary digits with which every value and every difference of two of them fits into int32."""
    largest = float(np.abs(values).max(initial=0.0))
    exponent = math.frexp(largest)[1]  # largest < 2**exponent
    scale = min(_MAX_SCALE, 30 - exponent)
    if scale >= 0 and round(largest * 2.0**scale) >= 2**30:
        scale -= 1  # rounded up to a power of two: twice that does not fit
    if scale < 0:
        raise ValueError(f"a leaf of {largest} does not fit into fixed point; the reader of models refuses such")
    return scale


def _joined(trees: tuple[Tree, ...], name: str, kind) -> np.ndarray:
    return np.concatenate([getattr(tree, name) for tree in trees]).astype(kind) if trees else np.zeros(0, kind)


def _tests(feature: np.ndarray, threshold: np.ndarray, cuts: CutPlan) -> tuple[np.ndarray, np.ndarray]:
    """Return each node's bin column (-1 for a leaf), and from which bin on a row goes right."""
    column, rank = np.full(len(feature), -1, np.int32), np.zeros(len(feature), np.int64)
    for of in np.unique(feature[feature >= 0]):
        nodes = feature == of
        column[nodes], at = cuts.by_source[int(of)].place(threshold[nodes])
        rank[nodes] = at + 1  # value < cut[at] is bin <= at
    return column, rank
