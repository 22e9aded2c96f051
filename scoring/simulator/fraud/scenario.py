"""What a fraud scenario is, and draws that scenarios share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scoring.simulator.block import Block
from scoring.simulator.sampling import DayRhythm
from scoring.simulator.world import World


@dataclass(frozen=True, slots=True)
class Scenario:
    """One typology.

    Attributes:
        typology: its name, as in the label's `fraud_type`.
        make: one incident from (world, honest history in order of time, start in microseconds,
            random numbers). An empty block means that the incident comes to nothing.
        share: of all fraudulent payments.
        payments: fraudulent payments of an incident, on average.
        hours: when incidents begin.
        report_days, report_sigma: median and spread (log scale) of the delay until it is reported.
        unreported: share of victims who never report.
    """

    typology: str
    make: Callable[[World, Block, int, np.random.Generator], Block]
    share: float
    payments: float
    hours: DayRhythm
    report_days: float
    report_sigma: float
    unreported: float


def moments(start: int, gaps: np.ndarray) -> np.ndarray:
    """Times `int64 [N]`: the first at `start` plus the first gap, each next after its own gap."""
    return start + np.cumsum(gaps).astype(np.int64)


def drop_account(world: World, start: int, rng: np.random.Generator) -> int:
    """One of the collecting accounts in use at that time."""
    drops = world.drop_accounts
    place = int(start / world.end_us * (len(drops) - 1)) + int(rng.integers(0, 3))
    return int(drops[min(place, len(drops) - 1)])
