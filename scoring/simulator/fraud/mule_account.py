"""Mule account: victims of a scam pay into one account, and the money leaves it at once."""

import numpy as np

from scoring.ingest.columns import HOUR
from scoring.simulator import addresses
from scoring.simulator.block import CHANNEL, Block, join
from scoring.simulator.fraud.scenario import Scenario, drop_account, moments
from scoring.simulator.geography import COUNTRIES, HOME_COUNTRY, country_code
from scoring.simulator.sampling import DayRhythm, lognormal_minor, rounded
from scoring.simulator.world import World


def make(world: World, history: Block, start: int, rng: np.random.Generator) -> Block:
    """Many senders to one counterparty within two days, then a quick outflow."""
    mule = int(rng.integers(0, len(world.customers)))
    incoming = _incoming(world, mule, start, rng)
    passed_on = int(incoming.amount.sum() * rng.uniform(0.75, 0.97))
    begin = int(incoming.time.max())
    if rng.random() < 0.3:
        return join([incoming, _cash(world, mule, passed_on, begin, rng)])
    return join([incoming, _outgoing(world, mule, passed_on, begin, rng)])


def _incoming(world: World, mule: int, start: int, rng: np.random.Generator) -> Block:
    size = min(4 + rng.poisson(4), len(world.customers) - 1)
    sender = (mule + rng.choice(np.arange(1, len(world.customers)), size, replace=False)) % len(world.customers)
    time = np.sort(start + rng.gamma(1.5, 7 * HOUR, size).astype(np.int64))
    # Most victims send the money themselves, from their own phone.
    device = world.customers.phones_at(sender, time / (24 * HOUR))
    ip = addresses.customers_address(world.customers.address[sender], rng)
    remote = rng.random(size) < 0.35
    device[remote] = world.devices.take(int(remote.sum()))
    amount = lognormal_minor(60_000.0, 0.7, size, rng)
    return world.transfer(
        time,
        sender,
        np.full(size, mule),
        amount=np.where(rng.random(size) < 0.5, rounded(amount, 1_000), amount),
        channel=np.where(rng.random(size) < 0.7, CHANNEL["mobile"], CHANNEL["web"]),
        device=device,
        ip=ip,
        country=country_code(HOME_COUNTRY),
    )


def _outgoing(world: World, mule: int, amount: int, begin: int, rng: np.random.Generator) -> Block:
    size = 1 + rng.poisson(1.0)
    parts = rng.dirichlet(np.full(size, 3.0)) * amount
    payee = world.accounts.take(1)[0] if rng.random() < 0.6 else drop_account(world, begin, rng)
    phone = world.customers.phones_at(np.array([mule]), np.array([begin / (24 * HOUR)]))[0]
    return world.transfer(
        moments(begin, rng.exponential(3 * HOUR, size)),
        np.full(size, mule),
        np.full(size, payee),
        amount=np.maximum(parts, 100),
        channel=CHANNEL["mobile"],
        device=phone if rng.random() < 0.6 else world.devices.take(1)[0],
        ip=addresses.fraudsters_address(1, rng)[0],
        country=country_code(HOME_COUNTRY) if rng.random() < 0.5 else int(rng.integers(0, len(COUNTRIES))),
    )


def _cash(world: World, mule: int, amount: int, begin: int, rng: np.random.Generator) -> Block:
    size = int(np.clip(amount // 50_000, 1, 6))
    city = np.full(size, world.customers.city[mule])
    customer = np.full(size, mule)
    return world.at_machine(
        moments(begin, rng.exponential(1.5 * HOUR, size)),
        customer,
        world.customers.random_card(customer, rng),
        world.merchants.cash_machines.sample(city, rng),
        amount=rng.choice([30_000, 40_000, 50_000], size),
    )


SCENARIO = Scenario(
    typology="mule_account",
    make=make,
    share=0.13,
    payments=11,
    hours=DayRhythm([1, 1, 1, 1, 1, 1, 2, 3, 5, 7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 7, 6, 5, 4, 2]),
    report_days=2.5,
    report_sigma=0.7,
    unreported=0.06,
)
