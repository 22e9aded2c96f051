"""The net in integers, as it runs here: the totals are the same to the last bit."""

from __future__ import annotations

import numpy as np

from inference_core.export.graph import GraphWriter
from inference_core.net import QuantisedNet
from inference_core.net.quantised import LARGEST_ACTIVATION


def write_net(graph: GraphWriter, x: str, net: QuantisedNet) -> str:
    """Return the totals [B, 1] int32 of x [B, C] float32, columns in the order of the net's features."""
    given = graph.add("Unsqueeze", _looked_up(graph, x, net), graph.constant([1], np.int64))
    given = _activated(graph, given, net.first_bias, net.first_scale, net.first_threshold)
    for layer in net.layers:
        sums = graph.add("MatMulInteger", given, graph.constant(layer.weight, np.int8))
        given = _activated(graph, sums, layer.bias, layer.scale, layer.threshold)
    flat = graph.add("Reshape", given, graph.constant([-1, net.head.size], np.int64))
    return graph.add("MatMulInteger", flat, graph.constant(net.head.reshape(-1, 1), np.int8))


def _looked_up(graph: GraphWriter, x: str, net: QuantisedNet) -> str:
    """Return sums [B, H] int32. Missing edges are NaN, which no value is >= of."""
    edges = np.full((len(net.edges), max(1, max(map(len, net.edges)))), np.nan, np.float32)
    for f, of in enumerate(net.edges):
        edges[f, : len(of)] = of
    value = graph.add("Unsqueeze", x, graph.constant([2], np.int64))
    reached = graph.add("GreaterOrEqual", value, graph.constant(edges, np.float32))
    bins = graph.add("ReduceSum", graph.cast(reached, np.int32), graph.constant([2], np.int64), keepdims=0)
    missing = graph.constant([len(of) + 1 for of in net.edges], np.int32)
    bins = graph.add("Where", graph.add("IsNaN", x), missing, bins)
    rows = graph.add("Add", bins, graph.constant(net.offsets[:-1], np.int32))
    found = graph.add("Gather", graph.constant(net.first, np.int32), rows, axis=0)
    return graph.add("ReduceSum", found, graph.constant([1], np.int64), keepdims=0)


def _activated(graph: GraphWriter, sums: str, bias: np.ndarray, scale: np.ndarray, threshold: int) -> str:
    exact = graph.cast(graph.add("Add", sums, graph.constant(bias, np.int32)), np.float32)
    scaled = graph.add("Mul", exact, graph.constant(scale, np.float32))
    limits = graph.constant(0, np.float32), graph.constant(LARGEST_ACTIVATION, np.float32)
    rounded = graph.add("Round", graph.add("Clip", scaled, *limits))  # half to even
    if threshold:
        kept = graph.add("GreaterOrEqual", rounded, graph.constant(threshold, np.float32))
        rounded = graph.add("Where", kept, rounded, limits[0])
    return graph.cast(rounded, np.uint8)
