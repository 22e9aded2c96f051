"""What the compiler returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.score_rows import ScoreTables


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled program, ready for any kernel and device.

    Attributes:
        tables: all that kernels.score_rows reads.
        cover: [N] float64 weight of the training rows that reached each node of tables.trees, which only exact
            explanations read; None without a forest.
        accounts: one line a pass about what it did.
        reduced: the same without the net, for when time is short; None where there is no net.
    """

    tables: ScoreTables
    cover: np.ndarray | None
    accounts: tuple[str, ...]
    reduced: Plan | None = None
