"""The trees as one TreeEnsembleRegressor."""

from __future__ import annotations

import numpy as np

from inference_core.compiler.ir import Tree
from inference_core.export.graph import GraphWriter


def write_forest(graph: GraphWriter, x: str, trees: tuple[Tree, ...], weight: float) -> str:
    """Return the sum of leaves times weight, [B, 1] float32, of x [B, F] float32.

    Leaves are float32 here, and so are the sums of most runtimes: a margin may differ in its last digits.
    """
    if not trees:
        rows = graph.add("Shape", x, start=0, end=1)
        return graph.add("ConstantOfShape", graph.add("Concat", rows, graph.constant([1], np.int64), axis=0))
    sizes = [len(tree.feature) for tree in trees]
    number = np.repeat(np.arange(len(trees)), sizes)
    node = np.concatenate([np.arange(size) for size in sizes])
    names = ("feature", "threshold", "default_left", "left", "value")
    feature, threshold, default_left, left, value = (np.concatenate([getattr(tree, name) for tree in trees]) for name in names)
    leaf = feature < 0
    return graph.add(
        "TreeEnsembleRegressor", x, domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM", post_transform="NONE",
        nodes_treeids=number.tolist(), nodes_nodeids=node.tolist(), nodes_featureids=np.maximum(feature, 0).tolist(),
        nodes_values=np.where(leaf, 0, threshold).astype(np.float32).tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LT").tolist(),
        nodes_truenodeids=np.where(leaf, 0, left).tolist(), nodes_falsenodeids=np.where(leaf, 0, left + 1).tolist(),
        nodes_missing_value_tracks_true=(default_left & ~leaf).astype(int).tolist(),
        target_treeids=number[leaf].tolist(), target_nodeids=node[leaf].tolist(), target_ids=[0] * int(leaf.sum()),
        target_weights=(value[leaf] * weight).astype(np.float32).tolist(),
    )  # fmt: skip
