"""What the suite of all operations needs to know of each: inputs of odd shapes, and how both implementations run.

An operation is a folder of kernels/ with a reference.py; one that is missing here fails the suite.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kernels
from kernels import forest_margin, top_values, velocity_windows
from kernels.forest_margin import reference as forest_reference
from kernels.top_values import reference as top_reference
from kernels.velocity_windows import reference as windows_reference
from tests.strategies import KINDS, SMALL_LAYOUT

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Operation:
    """Attributes:
    batches: rows in a batch -> the arrays that the operation reads.
    fast, reference: the arrays -> the arrays that come out.
    relative: how far the two may differ, as a share.
    """

    batches: Callable[[int], Arrays]
    fast: Callable[..., Arrays]
    reference: Callable[..., Arrays]
    relative: float


def operation_names() -> list[str]:
    """Return the folders of kernels/ that hold a reference, found on disk."""
    return sorted(path.parent.name for path in Path(kernels.__file__).parent.glob("*/reference.py"))


def _window_arrays(rows: int) -> Arrays:
    rng = np.random.default_rng(rows)
    return (
        1_000 + np.cumsum(rng.integers(-3, 6, rows)).astype(np.int64),
        rng.integers(0, 10**12, rows),
        np.arange(rows, dtype=np.uint64),
        rng.integers(-2, 3, (rows, KINDS)).astype(np.int32),
        rng.integers(-1, 3, (rows, KINDS)).astype(np.int32),
        (rng.random(rows) < 0.9).astype(np.uint8),
    )


def _windows(store_type: Callable) -> Callable[..., Arrays]:
    def run(*arrays: np.ndarray) -> Arrays:
        out = np.full((len(arrays[0]), len(SMALL_LAYOUT.columns)), np.nan, np.float32)
        late = store_type(SMALL_LAYOUT).process(velocity_windows.EventBatch(*arrays), out)
        return out, late

    return run


def _some_forest() -> forest_margin.ForestArrays:
    """Two trees: one of depth two over columns 0 and 2, one that is a leaf."""
    nodes = np.array(
        [(0.5, 0, 1, 1), (0.0, -1, 1, 0), (-1.0, 2, 3, 0), (0.0, -1, 3, 0), (0.0, -1, 4, 0), (0.0, -1, 5, 0)], forest_margin.NODE
    )
    mean = np.array([0.1, -0.3, 0.4, 0.25, 0.75, 0.125], np.float32)
    return forest_margin.ForestArrays(nodes, mean, np.array([0, 5], np.int32), base=-1.5, features=3)


def _forest_arrays(rows: int) -> Arrays:
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[rng.random(x.shape) < 0.2] = 0.5
    return (x,)


def _ranked_arrays(rows: int) -> Arrays:
    x = np.round(np.random.default_rng(rows).normal(size=(rows, 9)), 1).astype(np.float32)
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    return (x,)


OPERATIONS = {
    "velocity_windows": Operation(
        _window_arrays,
        _windows(velocity_windows.NativeWindowStore),
        _windows(windows_reference.ReferenceWindowStore),
        relative=2e-6,
    ),
    "forest_margin": Operation(
        _forest_arrays,
        lambda x: forest_margin.forest_contributions(_some_forest(), x),
        lambda x: forest_reference.forest_contributions(_some_forest(), x),
        relative=1e-6,
    ),
    "top_values": Operation(
        _ranked_arrays, lambda x: top_values.top_values(x, 4), lambda x: top_reference.top_values(x, 4), relative=0.0
    ),
}


def inputs(name: str, rows: int) -> Arrays:
    """Return fresh input arrays of an operation."""
    return OPERATIONS[name].batches(rows)


def run(name: str, which: str, arrays: Arrays) -> Any:
    """Run "fast" or "reference" of an operation."""
    return getattr(OPERATIONS[name], which)(*arrays)
