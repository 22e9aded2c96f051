"""What runs score_rows on a device: variants that take any batch, and static programs made for one shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inference_core.runtime.devices import Device
from kernels.score_rows import ScoredRows
from kernels.tables import RuleBits


class Executor(Protocol):
    """Runs any batch; every executor gives the same bits."""

    def run(self, x: np.ndarray, memberships: np.ndarray | None = None, top: int = 0) -> ScoredRows:
        """See kernels.score_rows.score_rows, contract and errors included."""
        ...


@dataclass(frozen=True)
class Shape:
    """What a static program is made for.

    Attributes:
        rows: the most rows that it takes; fewer are padded.
        top: contributions a row.
        lists: whether memberships are given (the modality is present) or not. Another modality would be one more field.
        complete: whether no value is missing.
    """

    rows: int
    top: int
    lists: bool
    complete: bool = False


class StaticProgram(Protocol):
    """A variant with its buffers and arguments ready for one shape. One call at a time: the caller holds a lock."""

    def run(self, x: np.ndarray, memberships: np.ndarray | None) -> ScoredRows:
        """Return the scores of at most `shape.rows` rows in fresh arrays.

        The caller has seen to it that x is C-contiguous float32 [n, F], and memberships as the shape says.
        """
        ...


class StaticVariant(Protocol):
    """A way to run of which static programs are made.

    Attributes:
        device: where it runs.
        name: device and variant, such as "cpu:0 prepared".
        usual_rows: (least, most) rows for which it is taken as long as no cost lines were measured.
        most_rows: no program of it takes more.
        needs_complete: its programs are right only for rows without a missing value: the ladder looks first. The cost of
            looking is part of the cost line.
        quick_to_build: whether a program may be made between two batches, or had better be made beside them.
    """

    device: Device
    name: str
    usual_rows: tuple[int, int]
    most_rows: int
    needs_complete: bool
    quick_to_build: bool

    def prepare(self, shape: Shape) -> StaticProgram:
        """Return a program for the shape."""
        ...


class DynamicVariant(Protocol):
    """A way to run any batch.

    Attributes:
        device, name, usual_rows: as of a StaticVariant.
    """

    device: Device
    name: str
    usual_rows: tuple[int, int]

    def run(self, x: np.ndarray, memberships: np.ndarray | None, top: int) -> ScoredRows:
        """See kernels.score_rows.score_rows."""
        ...


def first_rows(scored: ScoredRows, rows: int) -> ScoredRows:
    """Return the first `rows` in arrays of their own."""
    margin, hit, insufficient, error, features, contributions = (of[:rows] for of in _arrays(scored))
    return ScoredRows.of(margin, RuleBits(hit, insufficient, error), features, contributions)


def _arrays(of: ScoredRows) -> tuple[np.ndarray, ...]:
    bits = of.bits
    return of.margin, bits.hit, bits.insufficient, bits.error, of.top_features, of.top_contributions
