"""Transfers that customers start themselves."""

import numpy as np

from scoring.ingest.columns import DAY
from scoring.simulator import addresses
from scoring.simulator.block import CHANNEL, NONE, Block
from scoring.simulator.customers import FRIENDS
from scoring.simulator.geography import COUNTRIES, HOME_COUNTRY, country_code
from scoring.simulator.sampling import ONLINE_HOURS, lognormal_minor, rounded, shifted
from scoring.simulator.world import World


def everyday_transfers(world: World, customer: np.ndarray, day: np.ndarray, rng: np.random.Generator) -> Block:
    """Transfers to friends, landlords and others; now and then a large one to somebody new."""
    size = len(day)
    time = day * DAY + shifted(ONLINE_HOURS.sample(size, rng), world.customers.rhythm_hours[customer])
    who = rng.random(size)
    friend = world.customers.friends[customer, (FRIENDS * rng.random(size) ** 1.5).astype(np.int64)]
    counterparty = np.where(who < 0.5, friend, world.customers.landlord[customer])
    amount = lognormal_minor(6_000.0, 1.0, size, rng)
    is_large = rng.random(size) < 0.015
    large = world.customers.income_minor[customer] * rng.uniform(0.3, 2.5, size)
    amount = np.where(is_large, large.astype(np.int64), amount)
    is_new = (who > 0.86) | (is_large & (rng.random(size) < 0.6))
    counterparty[is_new] = world.accounts.take(int(is_new.sum()))
    amount = np.where(rng.random(size) < 0.5, rounded(amount, 500), amount)
    return customer_transfers(world, time, customer, counterparty, amount, rng)


def customer_transfers(
    world: World,
    time: np.ndarray,
    customer: np.ndarray,
    counterparty: np.ndarray,
    amount: np.ndarray,
    rng: np.random.Generator,
) -> Block:
    """Transfers as customers make them: mostly in the app, from their own devices."""
    size = len(time)
    draw = rng.random(size)
    is_mobile, at_branch = draw < 0.62, draw > 0.96
    channel = np.where(is_mobile, CHANNEL["mobile"], np.where(at_branch, CHANNEL["branch"], CHANNEL["web"]))
    device = own_devices(world, customer, time // DAY, np.where(is_mobile, 0.3, rng.uniform(0.62, 0.99, size)), rng)
    home = country_code(HOME_COUNTRY)
    country = np.where(rng.random(size) < 0.93, home, rng.integers(0, len(COUNTRIES), size))
    return world.transfer(
        time,
        customer,
        counterparty,
        amount=amount,
        channel=channel,
        device=np.where(at_branch, NONE, device),
        ip=np.where(at_branch, NONE, addresses.customers_address(world.customers.address[customer], rng)),
        country=country,
    )


def own_devices(world: World, customer: np.ndarray, day: np.ndarray, draw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Phone or computer; at times a public one that many share, or one never seen before.

    `draw` `float [N]` from 0 to 1 decides; payments of one sitting share it.
    """
    own = np.where(draw < 0.62, world.customers.phones_at(customer, day), world.customers.computer[customer])
    public = world.public_devices[rng.integers(0, len(world.public_devices), len(draw))]
    device = np.where(draw > 0.994, public, own)
    is_new = (draw > 0.984) & (draw <= 0.994)
    sittings, sitting = np.unique(draw[is_new], return_inverse=True)
    device[is_new] = world.devices.take(len(sittings))[sitting]
    return device
