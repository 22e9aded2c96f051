"""Card testing: stolen numbers are tried out with small amounts at a shop that checks little."""

import numpy as np

from scoring.ingest.columns import HOUR, MINUTE, SECOND
from scoring.simulator import addresses
from scoring.simulator.block import Block, join
from scoring.simulator.fraud.scenario import Scenario, moments
from scoring.simulator.sampling import DayRhythm, lognormal_minor
from scoring.simulator.world import World


def make(world: World, history: Block, start: int, rng: np.random.Generator) -> Block:
    """Many cards in minutes from one device; or slowly, with a new device every few cards."""
    cards = int(np.clip(rng.lognormal(np.log(13), 0.5), 5, min(60, len(world.customers))))
    customer = rng.choice(len(world.customers), cards, replace=False)
    card = world.customers.random_card(customer, rng)
    is_slow = rng.random() < 0.45
    gap = 14 * MINUTE if is_slow else 35 * SECOND
    cards_per_device = 3 if is_slow else cards
    device = np.repeat(world.devices.take(-(-cards // cards_per_device)), cards_per_device)[:cards]
    ip = np.repeat(addresses.fraudsters_address(-(-cards // cards_per_device), rng), cards_per_device)[:cards]
    shops = world.merchants.online_digital.draw(2 if is_slow else 1, rng)
    amount = lognormal_minor(330.0, 0.8, cards, rng)
    usual_price = rng.random(cards) < 0.4
    amount = np.where(usual_price, rng.choice([99, 199, 299, 499, 999], cards), amount)
    tests = world.online(
        moments(start, rng.exponential(gap, cards)), customer, card, rng.choice(shops, cards), amount=amount, device=device, ip=ip
    )
    return join([tests, _purchases(world, tests, rng)])


def _purchases(world: World, tests: Block, rng: np.random.Generator) -> Block:
    """Some of the cards that worked are used for something worth the trouble."""
    used = tests.take(rng.random(len(tests)) < 0.12)
    shop = world.merchants.online_resale.draw(len(used), rng)
    later = rng.uniform(0.5, 40, len(used)) * HOUR
    return world.online(
        used.time + later.astype(np.int64),
        used.customer,
        used.card,
        shop,
        amount=world.merchants.payments(shop, rng),
        device=world.devices.take(len(used)),
        ip=addresses.fraudsters_address(len(used), rng),
    )


SCENARIO = Scenario(
    typology="card_testing",
    make=make,
    share=0.24,
    payments=16,
    hours=DayRhythm([3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3]),
    report_days=1.8,
    report_sigma=0.8,
    unreported=0.08,
)
