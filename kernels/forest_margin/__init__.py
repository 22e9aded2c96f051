"""Margins of a gradient-boosted forest, with path contributions.

A row goes left at a node where value < threshold, right otherwise, and by the node's default where the value is NaN.
The margin is base + the sum of the leaves reached, in float32 in tree order, as XGBoost adds them. The contribution
of a feature is the sum, over the nodes on the paths taken that test it, of mean(child) - mean(node), where mean is
the cover-weighted mean of the leaves below (Saabas 2014, "Interpreting random forests"; XGBoost's approx_contribs).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from kernels.errors import KernelInputError
from kernels.native import library, pointer

NODE = np.dtype([("threshold", np.float32), ("feature", np.int32), ("left", np.int32), ("default_left", np.int32)])


@dataclass(frozen=True)
class ForestArrays:
    """Trees laid out for traversal; the right child of a node is left + 1. The arrays become read-only.

    Attributes:
        nodes: [N] NODE; feature is -1 for a leaf.
        mean: [N] float32, leaf value or mean of the leaves below.
        roots: [T] int32 position of each tree's root.
        base: margin of a forest without trees.
        features: number of columns that a row must have.
    """

    nodes: np.ndarray
    mean: np.ndarray
    roots: np.ndarray
    base: float
    features: int

    def __post_init__(self) -> None:
        for array in (self.nodes, self.mean, self.roots):
            array.setflags(write=False)  # shared between threads and programs

    @property
    def bias(self) -> float:
        """The margin before any path is taken: margin = bias + contributions."""
        return self.base + float(self.mean[self.roots].sum(dtype=np.float64))


def forest_margin(forest: ForestArrays, x: np.ndarray) -> np.ndarray:
    """Return the margins [B] float32 of the rows x [B, F] float32 (NaN: missing).

    Raises:
        KernelInputError: x is not float32 [B, F].
    """
    _check(forest, x)
    native = library()
    if native is None:
        from kernels.forest_margin import reference

        return reference.forest_margin(forest, x)
    margin = np.empty(len(x), np.float32)
    native.forest_margin(*_arguments(forest, x), pointer(margin))
    return margin


def forest_contributions(forest: ForestArrays, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return margins [B] and contributions [B, F], both float32; bias + the contributions' sum is the margin.

    Raises:
        KernelInputError: x is not float32 [B, F].
    """
    _check(forest, x)
    native = library()
    if native is None:
        from kernels.forest_margin import reference

        return reference.forest_contributions(forest, x)
    margin = np.empty(len(x), np.float32)
    contributions = np.zeros((len(x), forest.features), np.float32)
    native.forest_contributions(*_arguments(forest, x), pointer(margin), ctypes.c_int64(forest.features), pointer(contributions))
    return margin, contributions


def _check(forest: ForestArrays, x: np.ndarray) -> None:
    if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != forest.features or (x.size and x.strides[1] != 4):
        raise KernelInputError(f"x must be float32 [B, {forest.features}], rows contiguous; got {x.dtype} {x.shape}")


def _arguments(forest: ForestArrays, x: np.ndarray) -> list:
    return [
        pointer(forest.nodes),
        pointer(forest.mean),
        pointer(forest.roots),
        ctypes.c_int64(len(forest.roots)),
        ctypes.c_float(forest.base),
        pointer(x),
        ctypes.c_int64(len(x)),
        ctypes.c_int64(x.strides[0] // 4 if x.size else forest.features),
    ]
