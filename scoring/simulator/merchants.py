"""Merchants, their terminals, cash machines and billers."""

from dataclasses import dataclass

import numpy as np

from scoring.simulator import categories, geography
from scoring.simulator.categories import AT_TERMINAL, BILLERS, BRANCH, CASH_MACHINE, CATEGORIES, ONLINE
from scoring.simulator.sampling import GroupSampler

_BANKS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Merchants:
    """M merchants and T terminals.

    Attributes:
        category: `int32 [M]` into `CATEGORIES`.
        price: `float64 [M]`, price level, 1 for the usual of the category.
        country: `int32 [M]` into `geography.COUNTRIES`.
        terminal_merchant, terminal_number, terminal_city: `int32 [T]`.
        terminal_latitude, terminal_longitude: `float64 [T]`.
        shops, resale_shops, cash_machines: draw a terminal by city; "resale" prefers shops with
            goods that are easily sold on.
        online, online_digital, online_resale: draw a merchant (they have one group, 0).
        branches: `int64`, terminals of the bank's branches.
        billers: `int64`, merchants that collect by direct debit.
    """

    category: np.ndarray
    price: np.ndarray
    country: np.ndarray
    terminal_merchant: np.ndarray
    terminal_number: np.ndarray
    terminal_city: np.ndarray
    terminal_latitude: np.ndarray
    terminal_longitude: np.ndarray
    shops: GroupSampler
    resale_shops: GroupSampler
    cash_machines: GroupSampler
    online: GroupSampler
    online_digital: GroupSampler
    online_resale: GroupSampler
    branches: np.ndarray
    billers: np.ndarray

    def payments(self, merchant: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What somebody pays at each merchant, `int64 [N]` minor units."""
        category = self.category[merchant]
        spread = np.exp(categories.SIGMA[category] * rng.standard_normal(len(merchant)))
        amounts = categories.MEDIAN_MINOR[category] * self.price[merchant] * spread
        return np.maximum(np.rint(amounts), 50).astype(np.int64)


def build_merchants(count: int, rng: np.random.Generator) -> Merchants:
    """`count` merchants: banks first, then billers, online shops, and shops with terminals."""
    billers = max(len(BILLERS), count // 20)
    online = max(2 * len(ONLINE), count // 4)
    shops = count - _BANKS - billers - online
    first_online = _BANKS + billers
    first_shop = first_online + online
    category = np.concatenate(
        [
            _categories((BRANCH, *[CASH_MACHINE] * (_BANKS - 1)), _BANKS, rng),
            _categories(BILLERS, billers, rng),
            _categories(ONLINE, online, rng),
            _categories(AT_TERMINAL, shops, rng),
        ]
    )
    merchant, city = _terminals(np.arange(first_shop, count), rng)
    country = np.full(count, geography.country_code(geography.HOME_COUNTRY), dtype=np.int32)
    abroad = first_online + np.flatnonzero(rng.random(online) < 0.35)
    country[abroad] = rng.integers(0, len(geography.COUNTRIES), len(abroad))
    # A shop is registered where its first terminal stands.
    first_terminal = np.searchsorted(merchant, np.arange(first_shop, count))
    country[first_shop:] = geography.CITY_COUNTRY[city[first_terminal]]

    popularity = rng.pareto(1.6, count) + 0.3
    at_shop = np.flatnonzero(merchant >= first_shop)
    machines = np.flatnonzero(category[merchant] == CATEGORIES.index(CASH_MACHINE))
    weight = popularity[merchant]
    resale = np.where(categories.IS_RESALABLE[category[merchant]], 12.0, 1.0)
    web = np.arange(first_online, first_shop)
    digital = web[categories.IS_DIGITAL[category[web]]]
    resalable = web[categories.IS_RESALABLE[category[web]]]
    return Merchants(
        category=category,
        price=np.exp(0.3 * rng.standard_normal(count)),
        country=country,
        terminal_merchant=merchant,
        terminal_number=_numbers_within(merchant),
        terminal_city=city,
        terminal_latitude=geography.CITY_LATITUDE[city] + 0.04 * rng.standard_normal(len(city)),
        terminal_longitude=geography.CITY_LONGITUDE[city] + 0.06 * rng.standard_normal(len(city)),
        shops=GroupSampler(at_shop, weight[at_shop], group=city[at_shop]),
        resale_shops=GroupSampler(at_shop, (weight * resale)[at_shop], group=city[at_shop]),
        cash_machines=GroupSampler(machines, np.ones(len(machines)), group=city[machines]),
        online=GroupSampler(web, popularity[web]),
        online_digital=GroupSampler(digital, popularity[digital]),
        online_resale=GroupSampler(resalable, popularity[resalable]),
        branches=np.flatnonzero(category[merchant] == CATEGORIES.index(BRANCH)),
        billers=np.arange(_BANKS, first_online),
    )


def _categories(choices: tuple, size: int, rng: np.random.Generator) -> np.ndarray:
    codes = np.array([CATEGORIES.index(choice) for choice in choices], dtype=np.int32)
    weight = np.array([choice.weight for choice in choices], dtype=np.float64)
    # Every category occurs once before chance decides.
    drawn = rng.choice(codes, max(size - len(codes), 0), p=weight / weight.sum())
    return np.concatenate([codes, drawn])[:size]


def _terminals(shops: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Merchant and city of each terminal: branches, cash machines, then shops, by merchant."""
    cities = len(geography.CITIES)
    weight = 0.75 * geography.weights("residents") + 0.25 * geography.weights("visitors")
    # One shop a city first, so that nobody stands in a city without one.
    shop_city = np.append(np.arange(cities), rng.choice(cities, max(len(shops) - cities, 0), p=weight))[: len(shops)]
    per_shop = 1 + rng.poisson(1.2, len(shops))
    is_chain = rng.random(len(shops)) < 0.12
    per_shop[is_chain] += 4
    merchant = np.repeat(shops, per_shop)
    city = np.repeat(shop_city, per_shop)
    elsewhere = np.repeat(is_chain, per_shop) & (_numbers_within(merchant) > 0)
    city[elsewhere] = rng.choice(cities, int(elsewhere.sum()), p=weight)

    branch_city = np.repeat(geography.HOME_CITIES, 2)
    machine_city = np.append(np.arange(cities), rng.choice(cities, 2 * cities, p=weight))
    machine_bank = np.sort(rng.integers(1, _BANKS, len(machine_city)))
    return (
        np.concatenate([np.zeros(len(branch_city)), machine_bank, merchant]).astype(np.int32),
        np.concatenate([branch_city, machine_city, city]).astype(np.int32),
    )


def _numbers_within(merchant: np.ndarray) -> np.ndarray:
    """The number of each terminal at its merchant, from 0; `merchant` is in runs."""
    index = np.arange(len(merchant))
    is_first = np.append(True, merchant[1:] != merchant[:-1])
    return (index - np.maximum.accumulate(np.where(is_first, index, 0))).astype(np.int32)
