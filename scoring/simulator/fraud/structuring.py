"""Structuring: cash is paid in below the amount from which it must be reported."""

import numpy as np

from scoring.ingest.columns import DAY, HOUR
from scoring.simulator.block import CHANNEL, NONE, TYPE, Block
from scoring.simulator.fraud.scenario import Scenario
from scoring.simulator.sampling import DayRhythm, rounded
from scoring.simulator.world import World


def make(world: World, history: Block, start: int, rng: np.random.Generator) -> Block:
    """Several deposits within days, each just under the threshold, at changing branches."""
    size = 3 + rng.poisson(2.2)
    businesses = np.flatnonzero(world.customers.is_cash_business)
    if len(businesses) and rng.random() < 0.4:
        depositor = int(rng.choice(businesses))
    else:
        depositor = int(rng.integers(0, len(world.customers)))
    amount = world.config.cash_threshold_minor * rng.uniform(0.8, 0.998, size)
    first_day = start // DAY
    day = first_day + np.sort(rng.integers(0, 1 + size, size))
    time = day * DAY + rng.integers(8 * HOUR, 19 * HOUR, size)
    return world.at_terminal(
        time,
        np.full(size, depositor),
        np.full(size, NONE),
        rng.choice(world.merchants.branches, size),
        type=TYPE["cash_deposit"],
        channel=np.where(rng.random(size) < 0.5, CHANNEL["branch"], CHANNEL["atm"]),
        card_present=NONE,
        amount=np.minimum(rounded(amount, 1_000), world.config.cash_threshold_minor - 1_000),
    )


SCENARIO = Scenario(
    typology="structuring",
    make=make,
    share=0.06,
    payments=5.2,
    hours=DayRhythm([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]),
    report_days=1.6,
    report_sigma=0.6,
    unreported=0.08,
)
