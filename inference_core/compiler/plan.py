"""What the compiler returns."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.score_rows import ScoreTables


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled program, ready for any kernel and device.

    Attributes:
        tables: all that kernels.score_rows reads.
        accounts: one line a pass about what it did.
    """

    tables: ScoreTables
    accounts: tuple[str, ...]
