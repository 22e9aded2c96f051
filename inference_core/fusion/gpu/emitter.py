"""Writes a graph down as one Triton kernel: a program holds some rows in registers, reads each argument once and writes results.

A row is a number or a line of numbers here, padded to a power of two; a function of whole images can be a convolution with
operations on elements behind it. What has another shape is refused, and PyTorch runs it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from inference_core.fusion.gpu.images import Images
from inference_core.fusion.gpu.program import TritonSource
from inference_core.fusion.gpu.rows import Rows
from inference_core.fusion.ir import Graph, rewrite
from inference_core.fusion.placement import constants_read


def emit_triton(graph: Graph, statistics: frozenset[int] = frozenset()) -> TritonSource:
    """Return the Triton source of a graph.

    Args:
        statistics: positions of constant arguments that are read at each call, with what is worked out from them.

    Raises:
        NotFusable: it has shapes that no program holds in registers.
    """
    if any(node.op == "conv2d" for node in graph.nodes):
        return Images(graph, statistics).source()
    return Rows(_flattened(graph), statistics).source()


def _flattened(graph: Graph) -> Graph:
    """Return the graph with every row as one line, where all operations are on elements of one shape."""
    shapes = {node.row for node in graph.nodes if node.varies}
    if len(shapes) != 1 or len(next(iter(shapes))) < 2:
        return graph
    (shape,) = shapes
    read = constants_read(graph)
    if any(graph.nodes[at].elements not in (1, math.prod(shape)) for at in read):
        return graph
    # The constants keep their shape, which has the same elements in the same order.
    return rewrite(graph, lambda builder, node, at: builder.add(replace(node, row=(node.elements,)) if node.varies else node))
