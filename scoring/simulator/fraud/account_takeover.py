"""Account takeover: somebody else acts in a customer's online or mobile banking."""

import numpy as np

from scoring.ingest.columns import DAY, HOUR, MINUTE
from scoring.simulator import addresses
from scoring.simulator.block import CHANNEL, Block
from scoring.simulator.fraud.scenario import Scenario, drop_account, moments
from scoring.simulator.geography import COUNTRIES, HOME_COUNTRY, country_code
from scoring.simulator.sampling import DayRhythm, lognormal_minor, rounded
from scoring.simulator.world import World


def make(world: World, history: Block, start: int, rng: np.random.Generator) -> Block:
    """Empty the account, go shopping, or (after a drift) take little by little through the app."""
    victim = int(rng.integers(0, len(world.customers)))
    drift = world.config.drift
    if drift is not None and start >= drift.start_day * DAY and rng.random() < drift.takeover_mobile_share:
        return _small_amounts(world, victim, start, rng)
    device = world.devices.take(1)[0] if rng.random() < 0.86 else world.customers.computer[victim]
    if rng.random() < 0.3:
        return _shopping(world, victim, device, start, rng)
    return _large_transfers(world, victim, device, start, rng)


def _large_transfers(world: World, victim: int, device: int, start: int, rng: np.random.Generator) -> Block:
    size = 1 + rng.poisson(1.6)
    amount = world.customers.income_minor[victim] * rng.lognormal(np.log(0.45), 0.7, size)
    if size > 1 and rng.random() < 0.3:
        # A small one first, to see that it works.
        amount[0] = rng.uniform(100, 3_000)
    new = rng.random() < 0.5
    payee = world.accounts.take(1)[0] if new else drop_account(world, start, rng)
    return world.transfer(
        moments(start, rng.exponential(12 * MINUTE, size)),
        np.full(size, victim),
        np.full(size, payee),
        amount=np.maximum(amount, 100),
        channel=CHANNEL["web"] if rng.random() < 0.6 else CHANNEL["mobile"],
        device=device,
        ip=addresses.fraudsters_address(1, rng)[0],
        country=_payee_country(rng),
    )


def _shopping(world: World, victim: int, device: int, start: int, rng: np.random.Generator) -> Block:
    size = 2 + rng.poisson(2.0)
    shop = world.merchants.online_resale.draw(size, rng)
    customer = np.full(size, victim)
    return world.online(
        moments(start, rng.exponential(12 * MINUTE, size)),
        customer,
        world.customers.random_card(customer, rng),
        shop,
        amount=world.merchants.payments(shop, rng),
        device=device,
        ip=addresses.fraudsters_address(1, rng)[0],
    )


def _small_amounts(world: World, victim: int, start: int, rng: np.random.Generator) -> Block:
    """The victim's own phone, controlled from afar; amounts like those that friends send."""
    size = 3 + rng.poisson(4)
    own = rng.random() < 0.7
    phone = world.customers.phones_at(np.array([victim]), np.array([start / DAY]))[0]
    payees = np.array([drop_account(world, start, rng), drop_account(world, start, rng)])
    return world.transfer(
        moments(start, rng.exponential(2.5 * HOUR, size)),
        np.full(size, victim),
        rng.choice(payees, size),
        amount=rounded(lognormal_minor(7_500.0, 0.5, size, rng), 100),
        channel=CHANNEL["mobile"],
        device=phone if own else world.devices.take(1)[0],
        ip=world.customers.address[victim] if own else addresses.fraudsters_address(1, rng)[0],
        country=country_code(HOME_COUNTRY),
    )


def _payee_country(rng: np.random.Generator) -> int:
    if rng.random() < 0.6:
        return country_code(HOME_COUNTRY)
    return int(rng.integers(0, len(COUNTRIES)))


SCENARIO = Scenario(
    typology="account_takeover",
    make=make,
    share=0.17,
    payments=3.0,
    hours=DayRhythm([6, 6, 6, 5, 4, 3, 3, 3, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6, 7, 7, 7, 6]),
    report_days=1.0,
    report_sigma=0.9,
    unreported=0.03,
)
