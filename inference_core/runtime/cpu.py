"""The CPU's variants: buffers made ready for small batches, the blocked kernel, and several threads for large ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inference_core.runtime.devices import Device, usable_cores
from inference_core.runtime.executor import DynamicVariant, Shape, StaticProgram, StaticVariant, first_rows
from inference_core.runtime.pools import shared_pool
from kernels.native import library
from kernels.score_rows import PreparedCall, ScoredRows, ScoreTables, check_batch, score_part, score_rows

# Fewer rows than this are not worth handing over to a thread, whatever they cost.
_LEAST_ROWS_A_THREAD = 128
_ANY = 1 << 62
_pool = shared_pool("score", usable_cores())


def variants(tables: ScoreTables, device: Device) -> tuple[Sequence[StaticVariant], Sequence[DynamicVariant]]:
    """Return the variants of which static programs are made, and those for any batch: threads where there are cores."""
    static = [PreparedRows(tables, device)]
    if tables.trees is not None and tables.trees.shift.any():
        static.append(PreparedRows(tables, device, complete=True))
    dynamic: list[DynamicVariant] = [BlockedRows(tables, device)]
    if (cores := usable_cores()) > 1:
        dynamic.append(ThreadedRows(tables, device, cores))
    return static, dynamic


class BlockedRows:
    """One call of the fused kernel, which takes rows in blocks."""

    usual_rows = (0, 1023)

    def __init__(self, tables: ScoreTables, device: Device) -> None:
        self._tables, self.device, self.name = tables, device, f"{device.label} blocked"

    def run(self, x: np.ndarray, memberships: np.ndarray | None, top: int) -> ScoredRows:
        return score_rows(self._tables, x, memberships, top)


class ThreadedRows:
    """A part of the rows for each core; the compiled kernel lets go of the interpreter's lock."""

    usual_rows = (1024, _ANY)

    def __init__(self, tables: ScoreTables, device: Device, threads: int) -> None:
        self._tables, self._threads, self.device, self.name = tables, threads, device, f"{device.label} threads"

    def run(self, x: np.ndarray, memberships: np.ndarray | None, top: int) -> ScoredRows:
        check_batch(self._tables, x, memberships, top)  # the parts are not checked again
        threads = min(self._threads, len(x) // _LEAST_ROWS_A_THREAD)
        if threads < 2:
            return score_rows(self._tables, x, memberships, top)
        edges = np.linspace(0, len(x), threads + 1).astype(int).tolist()
        parts = list(itertools.pairwise(edges))

        if library() is None:
            return score_rows(self._tables, x, memberships, top)  # the references hold the interpreter's lock
        scored = ScoredRows.empty(self._tables, len(x), top)

        def score(part: tuple[int, int]) -> None:
            a, b = part
            score_part(self._tables, x[a:b], None if memberships is None else memberships[a:b], scored, a)

        others = [_pool().submit(score, part) for part in parts[1:]]
        score(parts[0])
        for other in others:
            other.result()
        return scored


class PreparedRows:
    """Buffers that stay where they are, so that a call looks nothing up and checks nothing twice.

    `complete` leaves out what only a missing value needs.
    """

    usual_rows = (1, 8)
    most_rows = 1024  # where copying the rows has come to cost more than finding their address
    quick_to_build = True

    def __init__(self, tables: ScoreTables, device: Device, *, complete: bool = False) -> None:
        self._tables = _for_complete_rows(tables) if complete else tables
        self.needs_complete, self.device = complete, device
        self.name = f"{device.label} prepared" + (" complete" if complete else "")

    def prepare(self, shape: Shape) -> StaticProgram:
        if library() is None:
            return _PreparedBatch(self._tables, shape)
        return PreparedCall(self._tables, shape.rows, shape.top)


class _PreparedBatch:
    """Without the compiled kernels: the reference on a padded batch."""

    def __init__(self, tables: ScoreTables, shape: Shape) -> None:
        self._tables, self._top = tables, shape.top
        self._x = np.zeros((shape.rows, tables.cuts.features), np.float32)
        self._memberships = np.zeros((shape.rows, tables.cuts.lists), bool) if shape.lists else None

    def run(self, x: np.ndarray, memberships: np.ndarray | None) -> ScoredRows:
        rows = len(x)
        self._x[:rows] = x  # what lies behind is of an earlier batch, is scored with it and cut off
        if self._memberships is not None:
            self._memberships[:rows] = memberships
        return first_rows(score_rows(self._tables, self._x, self._memberships, self._top), rows)


def _for_complete_rows(tables: ScoreTables) -> ScoreTables:
    """Return tables that say the same of rows without a missing value, whose trees never add to a bin.

    (bin + 1) >= rank is bin >= rank - 1 as long as bin + 1 does not wrap, which only a missing value's does.
    """
    trees = tables.trees
    assert trees is not None
    rank = np.maximum(trees.rank.astype(np.int16) - trees.shift, 0).astype(np.uint8)
    return replace(tables, trees=replace(trees, shift=np.zeros_like(trees.shift), rank=rank))
