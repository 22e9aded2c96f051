"""Compromised merchant: cards used at one shop are misused elsewhere days later."""

import numpy as np

from scoring.ingest.columns import DAY, HOUR
from scoring.ingest.contract import CHANNELS
from scoring.simulator import addresses
from scoring.simulator.block import NONE, Block, join, make_block
from scoring.simulator.fraud.scenario import Scenario
from scoring.simulator.sampling import DayRhythm
from scoring.simulator.world import World

_VICTIMS = 6
_VICTIMS_PER_DEVICE = 6


def make(world: World, history: Block, start: int, rng: np.random.Generator) -> Block:
    """The data of a breach at `start` is used online, and copies at an accomplice's terminal."""
    victims = _cards_used_at_a_shop(world, history, start, rng)
    if len(victims) == 0:
        return make_block(np.empty(0, dtype=np.int64))
    uses = rng.integers(2, 5, len(victims))
    place = np.repeat(np.arange(len(victims)), uses)
    step = np.arange(len(place)) - np.repeat(np.cumsum(uses) - uses, uses)
    wait = rng.gamma(1.6, 2.2 * DAY, len(victims)) + 0.5 * DAY
    time = victims.time[place] + (wait[place] + step * rng.exponential(0.5 * HOUR, len(place))).astype(np.int64)
    is_online = rng.random(len(place)) < 0.7
    sold = victims.take(place)
    sold.time = time
    return join([_online(world, sold.take(is_online), rng), _terminal(world, sold.take(~is_online), rng)])


def _cards_used_at_a_shop(world: World, history: Block, start: int, rng: np.random.Generator) -> Block:
    """Some of the honest payments at one busy shop during the breach, one for each card."""
    end = start + int(rng.uniform(3, 10) * DAY)
    low, high = np.searchsorted(history.time, [start, end])
    window = np.flatnonzero((history.channel[low:high] == CHANNELS.index("pos")) & (history.card[low:high] != NONE)) + low
    if len(window) == 0:
        return make_block(np.empty(0, dtype=np.int64))
    # A random payment's shop: busy shops are breached more often.
    shop = history.merchant[rng.choice(window)]
    there = window[history.merchant[window] == shop]
    _, first = np.unique(history.card[there], return_index=True)
    there = there[np.sort(first)]
    return history.take(np.sort(rng.choice(there, min(len(there), 3 + rng.poisson(_VICTIMS - 3)), replace=False)))


def _online(world: World, sold: Block, rng: np.random.Generator) -> Block:
    size = len(sold)
    shops = world.merchants
    shop = np.where(rng.random(size) < 0.8, shops.online_resale.draw(size, rng), shops.online.draw(size, rng))
    devices = world.devices.take(size // _VICTIMS_PER_DEVICE + 1)
    pick = rng.integers(0, len(devices), size)
    return world.online(
        sold.time,
        sold.customer,
        sold.card,
        shop,
        amount=shops.payments(shop, rng) * rng.uniform(1.2, 2.6, size),
        device=devices[pick],
        ip=addresses.fraudsters_address(len(devices), rng)[pick],
    )


def _terminal(world: World, sold: Block, rng: np.random.Generator) -> Block:
    """One terminal takes the copies: its share of fraud stands out once the reports come in."""
    shops = world.merchants
    city = world.calendar.city[sold.customer[0], 0] if len(sold) else 0
    terminal = np.full(len(sold), shops.shops.sample(np.array([city]), rng)[0])
    amount = shops.payments(shops.terminal_merchant[terminal], rng) * rng.uniform(1.5, 3.5, len(sold))
    return world.at_terminal(sold.time, sold.customer, sold.card, terminal, amount=amount)


SCENARIO = Scenario(
    typology="compromised_merchant",
    make=make,
    share=0.20,
    payments=16,
    hours=DayRhythm([1] * 24),
    report_days=2.2,
    report_sigma=0.8,
    unreported=0.05,
)
