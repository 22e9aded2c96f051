"""Honest money between people that looks like a mule's: bills split, club fees, small sellers."""

import numpy as np

from scoring.ingest.columns import DAY, HOUR
from scoring.simulator.block import Block, join
from scoring.simulator.honest.transfers import customer_transfers
from scoring.simulator.sampling import ONLINE_HOURS, lognormal_minor, rounded
from scoring.simulator.world import World


def social_payments(world: World, rng: np.random.Generator) -> Block:
    """Many senders to one account, and that account's own payments afterwards."""
    return join([_split_bills(world, rng), _club_fees(world, rng), _small_sellers(world, rng)])


def _split_bills(world: World, rng: np.random.Generator) -> Block:
    """After a dinner three to seven friends pay back the one who paid."""
    customers = world.customers
    events = rng.poisson(len(customers) * world.config.days / 70)
    payee = rng.integers(0, len(customers), events)
    when = rng.integers(0, world.config.days, events) * DAY + (20 + 4 * rng.random(events)) * HOUR
    share = rounded(lognormal_minor(2_600.0, 0.5, events, rng), 50)
    friends = rng.integers(3, 8, events)
    event = np.repeat(np.arange(events), friends)
    step = np.arange(len(event)) - np.repeat(np.cumsum(friends) - friends, friends)
    time = (when[event] + rng.exponential(5 * HOUR, len(event))).astype(np.int64)
    return customer_transfers(world, time, customers.friends[payee[event], step], payee[event], share[event], rng)


def _club_fees(world: World, rng: np.random.Generator) -> Block:
    """Clubs and school classes: many pay the collector within days, who then pays a bill."""
    collectors = np.flatnonzero(world.customers.is_collector)
    rounds = max(1, world.config.days // 30)
    collector = np.repeat(collectors, rounds)
    begin = rng.uniform(0, world.config.days, len(collector)) * DAY
    members = rng.integers(6, 28, len(collector))
    event = np.repeat(np.arange(len(collector)), members)
    fee = rng.choice([1500, 2000, 2500, 3000, 5000, 6000, 12000, 25000], len(collector))
    member = (collector[event] + rng.integers(1, 300, len(event))) % len(world.customers)
    time = (begin[event] + rng.gamma(2.0, 14 * HOUR, len(event))).astype(np.int64)
    fees = customer_transfers(world, time, member, collector[event], fee[event], rng)

    bill = (fee * members * rng.uniform(0.6, 1.0, len(collector))).astype(np.int64)
    paid_at = (begin + rng.uniform(40, 120, len(collector)) * HOUR).astype(np.int64)
    payee = world.accounts.take(len(collector))
    return join([fees, customer_transfers(world, paid_at, collector, payee, bill, rng)])


def _small_sellers(world: World, rng: np.random.Generator) -> Block:
    """Second-hand sellers: strangers pay them all the time, and they move the money on."""
    sellers = np.flatnonzero(world.customers.is_seller)
    sales = rng.poisson(0.45 * world.config.days, len(sellers))
    seller = np.repeat(sellers, sales)
    size = len(seller)
    day = rng.integers(0, world.config.days, size)
    buyer = rng.integers(0, len(world.customers), size)
    price = rounded(lognormal_minor(5_500.0, 1.0, size, rng), 100)
    income = customer_transfers(world, day * DAY + ONLINE_HOURS.sample(size, rng), buyer, seller, price, rng)

    payouts = rng.poisson(world.config.days / 5, len(sellers))
    saver = np.repeat(sellers, payouts)
    size = len(saver)
    saved = rounded(lognormal_minor(22_000.0, 0.8, size, rng), 1000)
    time = rng.integers(0, world.config.days, size) * DAY + ONLINE_HOURS.sample(size, rng)
    return join([income, customer_transfers(world, time, saver, world.customers.landlord[saver], saved, rng)])
