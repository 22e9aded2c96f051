"""What happens by itself: salaries, direct debits, subscriptions, takings paid in."""

import numpy as np

from scoring.ingest.columns import DAY, HOUR
from scoring.simulator.block import CHANNEL, NONE, TYPE, Block, join, make_block
from scoring.simulator.geography import HOME_COUNTRY, country_code
from scoring.simulator.sampling import DayRhythm, lognormal_minor, rounded
from scoring.simulator.world import World

_BRANCH_HOURS = DayRhythm([0, 0, 0, 0, 0, 0, 0, 0.5, 4, 9, 11, 11, 10, 8, 9, 10, 10, 8, 5, 3, 2, 1, 0, 0])
_EARLY_HOURS = DayRhythm([3, 6, 8, 8, 6, 4, 2, 1, *[0.3] * 16])


def regular_payments(world: World, rng: np.random.Generator) -> Block:
    """Payments that come on their own days, on top of what customers start."""
    makers = (_salaries, _direct_debits, _subscriptions, _takings, _private_deposits)
    return join([make(world, rng) for make in makers])


def _on_month_days(world: World, month_day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index into `month_day` and simulated day of each time that its day of the month comes."""
    return np.nonzero(month_day[:, None] == world.calendar.month_day[None, :])


def _salaries(world: World, rng: np.random.Generator) -> Block:
    """Employers pay all their people within minutes: large, many, and honest."""
    customers = world.customers
    employed = np.flatnonzero(customers.employer != NONE)
    index, day = _on_month_days(world, customers.payday[employed])
    worker = employed[index]
    time = day * DAY + 6 * HOUR + rng.integers(0, HOUR // 2, len(day))
    return make_block(
        time,
        type=TYPE["transfer"],
        channel=CHANNEL["api"],
        customer=customers.employer[worker],
        counterparty=worker,
        amount=customers.income_minor[worker].astype(np.int64),
        country=country_code(HOME_COUNTRY),
        is_recurring=1,
    )


def _direct_debits(world: World, rng: np.random.Generator) -> Block:
    """Energy, telephone, insurance: each customer has a few, on fixed days of the month."""
    contracts = rng.poisson(3.0, len(world.customers))
    owner = np.repeat(np.arange(len(world.customers)), contracts)
    biller = rng.choice(world.merchants.billers, len(owner))
    usual = world.merchants.payments(biller, rng)
    index, day = _on_month_days(world, rng.choice([1, 2, 3, 5, 10, 15, 20, 28], len(owner)))
    merchant = biller[index]
    varies = np.exp(0.05 * rng.standard_normal(len(index)))
    return make_block(
        day * DAY + _EARLY_HOURS.sample(len(day), rng),
        type=TYPE["direct_debit"],
        channel=CHANNEL["api"],
        customer=owner[index],
        merchant=merchant,
        country=world.merchants.country[merchant],
        amount=np.rint(usual[index] * varies),
        is_recurring=1,
    )


def _subscriptions(world: World, rng: np.random.Generator) -> Block:
    """Streaming, software: the same card, merchant and amount every month, no device."""
    contracts = rng.poisson(1.3, len(world.customers))
    owner = np.repeat(np.arange(len(world.customers)), contracts)
    shop = world.merchants.online_digital.draw(len(owner), rng)
    price = rng.choice([399, 799, 999, 1299, 1799], len(owner))
    card = world.customers.random_card(owner, rng)
    index, day = _on_month_days(world, rng.integers(1, 29, len(owner)))
    time = day * DAY + _EARLY_HOURS.sample(len(day), rng)
    return world.online(time, owner[index], card[index], shop[index], amount=price[index], is_recurring=1)


def _takings(world: World, rng: np.random.Generator) -> Block:
    """Shops and restaurants pay their cash in; some take nearly the reporting threshold."""
    owners = np.flatnonzero(world.customers.is_cash_business)
    usual = world.config.cash_threshold_minor * np.exp(-1.05 + 0.75 * rng.standard_normal(len(owners)))
    usual = np.minimum(usual, 0.93 * world.config.cash_threshold_minor)
    visits = rng.poisson(rng.uniform(0.15, 0.6, len(owners)) * world.config.days)
    index = np.repeat(np.arange(len(owners)), visits)
    amount = rounded(lognormal_minor(usual[index], 0.28, len(index), rng), 500)
    return cash_deposits(world, owners[index], rng.integers(0, world.config.days, len(index)), amount, rng)


def _private_deposits(world: World, rng: np.random.Generator) -> Block:
    size = rng.poisson(0.006 * len(world.customers) * world.config.days)
    customer = rng.integers(0, len(world.customers), size)
    amount = rounded(lognormal_minor(42_000.0, 1.1, size, rng), 1000)
    return cash_deposits(world, customer, rng.integers(0, world.config.days, size), amount, rng)


def cash_deposits(world: World, customer: np.ndarray, day: np.ndarray, amount: np.ndarray, rng: np.random.Generator) -> Block:
    """Cash paid in at branches and their machines, during the day."""
    size = len(customer)
    terminal = rng.choice(world.merchants.branches, size)
    # Everybody has a branch of their own and seldom goes to another.
    usual = world.merchants.branches[customer % len(world.merchants.branches)]
    terminal = np.where(rng.random(size) < 0.8, usual, terminal)
    return world.at_terminal(
        day * DAY + _BRANCH_HOURS.sample(size, rng),
        customer,
        np.full(size, NONE),
        terminal,
        type=TYPE["cash_deposit"],
        channel=np.where(rng.random(size) < 0.6, CHANNEL["branch"], CHANNEL["atm"]),
        card_present=NONE,
        amount=amount,
    )
