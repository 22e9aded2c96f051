"""Simulated days: weekdays, days of the month, who is on a journey, how busy each day is."""

from dataclasses import dataclass

import numpy as np

from scoring.simulator import geography
from scoring.simulator.config import SimulationConfig
from scoring.simulator.customers import Customers

# Monday to Sunday.
_WEEKDAY_LEVEL = np.array([0.90, 0.92, 0.96, 1.02, 1.18, 1.22, 0.80])
_JOURNEYS_PER_DAY = 0.011


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """D days for C customers.

    Attributes:
        weekday: `int64 [D]`, 0 for Monday.
        month_day: `int64 [D]`, 1 to 31.
        city: `int32 [C, D]`, where each customer is.
        is_away: `bool [C, D]`, on a journey.
        level: `float64 [C, D]`, how much more than on average a customer pays on that day.
    """

    weekday: np.ndarray
    month_day: np.ndarray
    city: np.ndarray
    is_away: np.ndarray
    level: np.ndarray

    @property
    def days(self) -> int:
        return len(self.weekday)


def build_calendar(config: SimulationConfig, customers: Customers, rng: np.random.Generator) -> Calendar:
    """The days of a simulation and who is where on them."""
    first = np.datetime64(config.start.date())
    dates = first + np.arange(config.days)
    weekday = (dates.astype(np.int64) + 3) % 7
    month_day = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
    city, is_away = _whereabouts(config.days, customers, rng)
    since_payday = (month_day[None, :] - customers.payday[:, None]) % 30
    level = _WEEKDAY_LEVEL[weekday][None, :] * (0.88 + 0.55 * np.exp(-since_payday / 4.0))
    level = level * np.where(is_away, 1.7, 1.0) * rng.gamma(6.0, 1 / 6.0, level.shape)
    return Calendar(weekday=weekday, month_day=month_day, city=city, is_away=is_away, level=level)


def _whereabouts(days: int, customers: Customers, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    count = len(customers)
    city = np.repeat(customers.city[:, None], days, axis=1)
    is_away = np.zeros((count, days), dtype=bool)
    # The rich travel more.
    wish = _JOURNEYS_PER_DAY * days * (customers.income_minor / 260_000) ** 0.6
    traveller = np.repeat(np.arange(count), rng.poisson(wish))
    begin = rng.integers(0, days, len(traveller))
    length = 1 + rng.poisson(3.0, len(traveller))
    destination = rng.choice(len(geography.CITIES), len(traveller), p=geography.weights("visitors"))
    who = np.repeat(traveller, length)
    step = np.arange(len(who)) - np.repeat(np.cumsum(length) - length, length)
    day = np.repeat(begin, length) + step
    inside = day < days
    city[who[inside], day[inside]] = np.repeat(destination, length)[inside]
    is_away[who[inside], day[inside]] = True
    return city, is_away
