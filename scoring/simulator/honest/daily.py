"""Shopping, cash and transfers that customers start themselves."""

import numpy as np

from scoring.ingest.columns import DAY, MINUTE, SECOND
from scoring.simulator import addresses
from scoring.simulator.block import CHANNEL, Block, join
from scoring.simulator.customers import FAVOURITES, KINDS
from scoring.simulator.geography import HOME_CITIES
from scoring.simulator.honest.transfers import everyday_transfers, own_devices
from scoring.simulator.sampling import ONLINE_HOURS, DayRhythm, shifted
from scoring.simulator.world import World

_SHOP_HOURS = DayRhythm([1, 0.6, 0.4, 0.3, 0.3, 0.6, 2, 5, 7, 7, 8, 9, 10, 9, 8, 8, 9, 11, 11, 8, 6, 4, 3, 2])
_CASH_HOURS = DayRhythm([1, 0.7, 0.5, 0.3, 0.3, 0.5, 1.5, 4, 6, 8, 9, 9, 9, 8, 8, 8, 9, 10, 9, 7, 5, 4, 3, 2])
_CASH_AMOUNTS = np.array([20, 30, 50, 100, 150, 200, 300, 400, 500]) * 100
_CASH_WEIGHTS = np.array([10, 6, 25, 24, 8, 14, 7, 3, 3]) / 100

# Follow-up purchases come on top of the daily rate.
_FIRST_PAYMENTS = 0.84


def daily_payments(world: World, rng: np.random.Generator) -> Block:
    """All payments that customers start, about `daily_rate` for each of them a day."""
    customers, calendar = world.customers, world.calendar
    expected = _FIRST_PAYMENTS * customers.payments_per_day[:, None] * calendar.level
    counts = rng.poisson(expected)
    pair = np.repeat(np.arange(counts.size), counts.ravel())
    customer, day = np.divmod(pair, calendar.days)
    limits = np.cumsum(customers.kind_share, axis=1)[customer]
    kind = (rng.random(len(customer))[:, None] >= limits[:, :-1]).sum(axis=1)
    kind = _drifted(world, kind, day, rng)
    makers = zip(KINDS, (_shops, _online, _cash, everyday_transfers), strict=True)
    chosen = [(make, kind == KINDS.index(name)) for name, make in makers]
    return join([make(world, customer[mine], day[mine], rng) for make, mine in chosen])


def _drifted(world: World, kind: np.ndarray, day: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drift = world.config.drift
    if drift is None:
        return kind
    moves = (kind == KINDS.index("pos")) & (day >= drift.start_day) & (rng.random(len(kind)) < drift.ecom_shift)
    return np.where(moves, KINDS.index("ecom"), kind)


def _times(world: World, customer: np.ndarray, day: np.ndarray, hours: DayRhythm, rng: np.random.Generator) -> np.ndarray:
    return day * DAY + shifted(hours.sample(len(day), rng), world.customers.rhythm_hours[customer])


def _spending(world: World, customer: np.ndarray, merchant: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What each customer pays, now and then for something far bigger than usual."""
    taste = (world.customers.income_minor[customer] / 260_000) ** 0.35
    big = np.where(rng.random(len(customer)) < 0.006, rng.uniform(4, 16, len(customer)), 1.0)
    amount = world.merchants.payments(merchant, rng) * taste * big
    return np.maximum(np.rint(amount), 1).astype(np.int64)


def _shops(world: World, customer: np.ndarray, day: np.ndarray, rng: np.random.Generator) -> Block:
    time = _times(world, customer, day, _SHOP_HOURS, rng)
    city = world.calendar.city[customer, day]
    # A day out in another city of the country.
    out = rng.random(len(day)) < 0.05
    city = np.where(out, rng.choice(HOME_CITIES, len(day)), city)
    terminal = world.merchants.shops.sample(city, rng)
    at_home = (city == world.customers.city[customer]) & (rng.random(len(day)) < 0.65)
    favourite = (FAVOURITES * rng.random(len(day)) ** 1.8).astype(np.int64)
    terminal = np.where(at_home, world.customers.favourite_shops[customer, favourite], terminal)

    # One errand leads to the next: some purchases are followed by others nearby.
    more = np.where(rng.random(len(day)) < 0.09, rng.integers(1, 4, len(day)), 0)
    place = np.repeat(np.arange(len(day)), more)
    step = np.arange(len(place)) - np.repeat(np.cumsum(more) - more, more) + 1
    later = time[place] + step * (rng.exponential(25 * MINUTE, len(place)) + 4 * MINUTE).astype(np.int64)
    time = np.append(time, later)
    customer = np.append(customer, customer[place])
    terminal = np.append(terminal, world.merchants.shops.sample(city[place], rng))
    card = world.customers.random_card(customer, rng)
    amount = _spending(world, customer, world.merchants.terminal_merchant[terminal], rng)
    return world.at_terminal(time, customer, card, terminal, amount=amount)


def _online(world: World, customer: np.ndarray, day: np.ndarray, rng: np.random.Generator) -> Block:
    size = len(day)
    time = _times(world, customer, day, ONLINE_HOURS, rng)
    favourite = (FAVOURITES * rng.random(size) ** 1.6).astype(np.int64)
    merchant = np.where(
        rng.random(size) < 0.5, world.customers.favourite_sites[customer, favourite], world.merchants.online.draw(size, rng)
    )
    amount = _spending(world, customer, merchant, rng)
    neat = rng.random(size) < 0.35
    amount = np.where(neat, np.maximum(amount // 100, 1) * 100 - 1, amount)
    # Players buy many small things in one sitting.
    plays = world.customers.is_gamer[customer] & (rng.random(size) < 0.35)
    merchant = np.where(plays, world.merchants.online_digital.draw(size, rng), merchant)
    amount = np.where(plays, rng.choice([99, 199, 299, 499, 999], size), amount)
    more = np.where(plays, rng.integers(0, 6, size), 0)
    more = np.where(~plays & (rng.random(size) < 0.03), 1, more)
    place = np.append(np.arange(size), np.repeat(np.arange(size), more))
    step = np.append(np.zeros(size), np.arange(more.sum()) - np.repeat(np.cumsum(more) - more, more) + 1)
    time = time[place] + (step * (rng.exponential(3 * MINUTE, len(place)) + 20 * SECOND)).astype(np.int64)
    customer = customer[place]
    return world.online(
        time,
        customer,
        world.customers.random_card(customer, rng),
        merchant[place],
        amount=amount[place],
        channel=np.where((rng.random(size) < 0.012), CHANNEL["moto"], CHANNEL["ecom"])[place],
        device=own_devices(world, customer, time // DAY, rng.random(size)[place], rng),
        ip=addresses.customers_address(world.customers.address[customer], rng),
    )


def _cash(world: World, customer: np.ndarray, day: np.ndarray, rng: np.random.Generator) -> Block:
    time = _times(world, customer, day, _CASH_HOURS, rng)
    terminal = world.merchants.cash_machines.sample(world.calendar.city[customer, day], rng)
    amount = rng.choice(_CASH_AMOUNTS, len(day), p=_CASH_WEIGHTS)
    return world.at_machine(time, customer, world.customers.random_card(customer, rng), terminal, amount=amount)
