"""Customers: where they live, what they earn, how and when they pay, what they own."""

from dataclasses import dataclass

import numpy as np

from scoring.simulator import addresses, geography
from scoring.simulator.merchants import Merchants

CARDS_PER_CUSTOMER = 2
FRIENDS = 8
FAVOURITES = 6
NEVER = 1e9
KINDS = ("pos", "ecom", "cash_machine", "transfer")


@dataclass(frozen=True, slots=True, eq=False)
class Customers:
    """C customers; everybody has one account (the customer's own index).

    Attributes:
        city, country: `int32 [C]`, home.
        income_minor: `float64 [C]`, a month.
        payments_per_day: `float64 [C]`.
        kind_share: `float64 [C, 4]`, share of each of `KINDS`; rows sum to 1.
        rhythm_hours: `float64 [C]`, how much later than others the day goes.
        payday: `int64 [C]`, day of the month.
        cards: `int8 [C]`, 1 or 2.
        phone, computer, next_phone: `int32 [C]`, devices.
        new_phone_day: `float64 [C]`, when `next_phone` replaces `phone`; `NEVER` for most.
        address: `int64 [C]`, the home's IPv4 address as a number.
        favourite_shops: `int64 [C, FAVOURITES]`, terminals near home.
        favourite_sites: `int64 [C, FAVOURITES]`, online merchants.
        friends: `int32 [C, FRIENDS]`, other customers.
        landlord: `int32 [C]`, account outside the bank.
        is_gamer, is_seller, is_cash_business, is_employer, is_collector: `bool [C]`.
        employer: `int32 [C]`, customer who pays the salary, -1 where it comes from outside.
    """

    city: np.ndarray
    country: np.ndarray
    income_minor: np.ndarray
    payments_per_day: np.ndarray
    kind_share: np.ndarray
    rhythm_hours: np.ndarray
    payday: np.ndarray
    cards: np.ndarray
    phone: np.ndarray
    computer: np.ndarray
    next_phone: np.ndarray
    new_phone_day: np.ndarray
    address: np.ndarray
    favourite_shops: np.ndarray
    favourite_sites: np.ndarray
    friends: np.ndarray
    landlord: np.ndarray
    is_gamer: np.ndarray
    is_seller: np.ndarray
    is_cash_business: np.ndarray
    is_employer: np.ndarray
    is_collector: np.ndarray
    employer: np.ndarray

    def __len__(self) -> int:
        return len(self.city)

    def phones_at(self, customer: np.ndarray, day: np.ndarray) -> np.ndarray:
        """The phone that each customer uses on that day, `int32 [N]`."""
        return np.where(day < self.new_phone_day[customer], self.phone[customer], self.next_phone[customer])

    def random_card(self, customer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One of each customer's cards, the first more often; `int64 [N]`."""
        second = (rng.random(len(customer)) < 0.3) & (self.cards[customer] > 1)
        return customer * CARDS_PER_CUSTOMER + second


def build_customers(count: int, daily_rate: float, days: int, merchants: Merchants, rng: np.random.Generator) -> Customers:
    """`count` customers; devices 0 .. 3 * count - 1 are theirs."""
    city = rng.choice(len(geography.CITIES), count, p=geography.weights("residents")).astype(np.int32)
    everybody = np.arange(count)
    digital = rng.beta(2.2, 2.2, count)
    share = np.stack([0.75 - 0.45 * digital, 0.08 + 0.42 * digital, 0.13 - 0.09 * digital, 0.04 + 0.12 * digital], 1)
    is_employer = rng.random(count) < 1 / 80
    employers = np.flatnonzero(is_employer)
    employer = np.full(count, -1, dtype=np.int32)
    if len(employers):
        employed = rng.random(count) < 0.6
        employer[employed] = rng.choice(employers, int(employed.sum()))
        employer[employers] = -1
    # Families share a computer, so a device with two customers is nothing special.
    computer = np.where(rng.random(count) < 0.25, everybody ^ 1, everybody) % count + count
    return Customers(
        city=city,
        country=geography.CITY_COUNTRY[city],
        income_minor=260_000 * np.exp(0.5 * rng.standard_normal(count)),
        payments_per_day=daily_rate * rng.gamma(3.0, 1 / 3.0, count),
        kind_share=share / share.sum(axis=1, keepdims=True),
        rhythm_hours=1.4 * rng.standard_normal(count),
        payday=rng.choice([1, 15, 25, 26, 27, 28], count, p=[0.2, 0.15, 0.2, 0.2, 0.15, 0.1]),
        cards=np.where(rng.random(count) < 0.4, 2, 1).astype(np.int8),
        phone=everybody.astype(np.int32),
        computer=computer.astype(np.int32),
        next_phone=(everybody + 2 * count).astype(np.int32),
        new_phone_day=_new_phone_days(count, days, rng),
        address=addresses.carrier(count, rng),
        favourite_shops=merchants.shops.sample(np.repeat(city, FAVOURITES), rng).reshape(count, FAVOURITES),
        favourite_sites=merchants.online.draw(count * FAVOURITES, rng).reshape(count, FAVOURITES),
        friends=_friends(count, rng),
        landlord=(count + rng.integers(0, max(count // 6, 1), count)).astype(np.int32),
        is_gamer=rng.random(count) < 0.10,
        is_seller=rng.random(count) < 0.04,
        is_cash_business=rng.random(count) < 0.03,
        is_employer=is_employer,
        is_collector=rng.random(count) < 0.015,
        employer=employer,
    )


def _new_phone_days(count: int, days: int, rng: np.random.Generator) -> np.ndarray:
    # A phone lasts about a year and a half.
    day = rng.exponential(540.0, count)
    return np.where(day < days, day, NEVER)


def _friends(count: int, rng: np.random.Generator) -> np.ndarray:
    """Friends live near in the numbering, so circles overlap as real ones do."""
    steps = rng.integers(1, 60, (count, FRIENDS)) * rng.choice([-1, 1], (count, FRIENDS))
    friends = (np.arange(count)[:, None] + steps) % count
    own = friends == np.arange(count)[:, None]
    friends[own] = (friends[own] + 1) % count
    return friends.astype(np.int32)
