"""Stolen card: a card or its copy is spent at terminals until it is blocked."""

import numpy as np

from scoring.ingest.columns import DAY, HOUR, MINUTE
from scoring.simulator.block import Block, join
from scoring.simulator.fraud.scenario import Scenario, moments
from scoring.simulator.geography import FOREIGN_CITIES
from scoring.simulator.sampling import DayRhythm
from scoring.simulator.world import World

# Below this no PIN is asked.
_CONTACTLESS_LIMIT = 5_000


def make(world: World, history: Block, start: int, rng: np.random.Generator) -> Block:
    """A copy abroad, a theft at home, or a lost card used contactless for days."""
    victim = int(rng.integers(0, len(world.customers)))
    card = int(world.customers.random_card(np.array([victim]), rng)[0])
    day = min(start // DAY, world.config.days - 1)
    here = int(world.calendar.city[victim, day])
    way = rng.random()
    if way < 0.45:
        return _spree(world, victim, card, int(rng.choice(FOREIGN_CITIES)), start, rng)
    if way < 0.90:
        spree = _spree(world, victim, card, here, start, rng)
        return join([_cash(world, victim, card, here, start, rng), spree]) if rng.random() < 0.4 else spree
    return _contactless(world, victim, card, here, start, rng)


def _spree(world: World, victim: int, card: int, city: int, start: int, rng: np.random.Generator) -> Block:
    size = 4 + rng.poisson(4.0)
    cities = np.full(size, city)
    resale = rng.random(size) < 0.8
    shops = world.merchants
    terminal = np.where(resale, shops.resale_shops.sample(cities, rng), shops.shops.sample(cities, rng))
    amount = shops.payments(shops.terminal_merchant[terminal], rng) * rng.uniform(1.2, 3.0)
    time = moments(start, rng.exponential(6 * MINUTE, size) + MINUTE)
    return world.at_terminal(time, np.full(size, victim), np.full(size, card), terminal, amount=amount)


def _cash(world: World, victim: int, card: int, city: int, start: int, rng: np.random.Generator) -> Block:
    size = 1 + rng.poisson(0.8)
    terminal = world.merchants.cash_machines.sample(np.full(size, city), rng)
    amount = rng.choice([20_000, 30_000, 40_000, 50_000], size)
    time = moments(start, rng.exponential(6 * MINUTE, size))
    return world.at_machine(time, np.full(size, victim), np.full(size, card), terminal, amount=amount)


def _contactless(world: World, victim: int, card: int, city: int, start: int, rng: np.random.Generator) -> Block:
    size = 3 + rng.poisson(3.5)
    terminal = world.merchants.shops.sample(np.full(size, city), rng)
    usual = world.merchants.payments(world.merchants.terminal_merchant[terminal], rng)
    time = moments(start, rng.exponential(0.6 * HOUR, size))
    return world.at_terminal(
        time, np.full(size, victim), np.full(size, card), terminal, amount=np.minimum(usual, _CONTACTLESS_LIMIT)
    )


SCENARIO = Scenario(
    typology="stolen_card",
    make=make,
    share=0.20,
    payments=8.1,
    hours=DayRhythm([2, 2, 1, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 9, 9, 9, 9, 9, 8, 7, 5, 4, 3, 2]),
    report_days=0.8,
    report_sigma=0.8,
    unreported=0.03,
)
