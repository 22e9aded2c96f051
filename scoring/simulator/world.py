"""The simulated world: customers, merchants, days, and a supply of new devices and accounts."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scoring.ingest.columns import DAY
from scoring.simulator.block import CHANNEL, TYPE, Block, make_block
from scoring.simulator.calendar import Calendar, build_calendar
from scoring.simulator.config import SimulationConfig
from scoring.simulator.customers import Customers, build_customers
from scoring.simulator.geography import CITY_COUNTRY
from scoring.simulator.merchants import Merchants, build_merchants


@dataclass(slots=True)
class Supply:
    """Hands out numbers that nobody has yet."""

    next_number: int

    def take(self, count: int) -> np.ndarray:
        """`count` new numbers, `int64 [count]`."""
        first = self.next_number
        self.next_number += count
        return np.arange(first, first + count)


@dataclass(slots=True, eq=False)
class World:
    """Everything that payments refer to. Only the supplies change while payments are made.

    Attributes:
        devices, accounts: supplies of new ones.
        public_devices: `int64`, shared by many honest customers.
        drop_accounts: `int64`, accounts at other banks where fraudsters collect, by time.
    """

    config: SimulationConfig
    customers: Customers
    merchants: Merchants
    calendar: Calendar
    devices: Supply = field(init=False)
    accounts: Supply = field(init=False)
    public_devices: np.ndarray = field(init=False)
    drop_accounts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.customers)
        self.devices = Supply(3 * count)
        # Accounts below `count` are the customers' own, the next `count` are landlords and the like.
        self.accounts = Supply(2 * count)
        # Internet cafes, travel agencies, hotel desks: one device, many honest customers.
        self.public_devices = self.devices.take(max(2, count // 250))
        # Accounts at other banks where fraudsters collect; each is in use for a few days.
        self.drop_accounts = self.accounts.take(1 + self.config.days)

    @property
    def end_us(self) -> int:
        """Microseconds from the start to the end."""
        return self.config.days * DAY

    def at_terminal(
        self, time: np.ndarray, customer: np.ndarray, card: np.ndarray, terminal: np.ndarray, **columns: Any
    ) -> Block:
        """Payments with a card that is present, at terminals of shops."""
        merchants = self.merchants
        merchant = merchants.terminal_merchant[terminal]
        defaults = {"type": TYPE["card_payment"], "channel": CHANNEL["pos"], "card_present": 1}
        return make_block(
            time,
            customer=customer,
            card=card,
            terminal=terminal,
            merchant=merchant,
            country=CITY_COUNTRY[merchants.terminal_city[terminal]],
            latitude=merchants.terminal_latitude[terminal],
            longitude=merchants.terminal_longitude[terminal],
            **{**defaults, **columns},
        )

    def at_machine(self, time: np.ndarray, customer: np.ndarray, card: np.ndarray, terminal: np.ndarray, **columns: Any) -> Block:
        """Withdrawals at cash machines."""
        kind = {"type": TYPE["cash_withdrawal"], "channel": CHANNEL["atm"]}
        return self.at_terminal(time, customer, card, terminal, **{**kind, **columns})

    def online(self, time: np.ndarray, customer: np.ndarray, card: np.ndarray, merchant: np.ndarray, **columns: Any) -> Block:
        """Card payments in online shops; `device`, `ip` and `amount` come with `columns`."""
        return make_block(
            time,
            customer=customer,
            card=card,
            merchant=merchant,
            country=self.merchants.country[merchant],
            **{"type": TYPE["card_payment"], "channel": CHANNEL["ecom"], "card_present": 0, **columns},
        )

    def transfer(self, time: np.ndarray, customer: np.ndarray, counterparty: np.ndarray, **columns: Any) -> Block:
        """Transfers from a customer's account to another account."""
        return make_block(time, customer=customer, counterparty=counterparty, type=TYPE["transfer"], **columns)


def build_world(config: SimulationConfig, rng: np.random.Generator) -> World:
    """The world of a config, from one stream of random numbers."""
    merchants = build_merchants(config.merchants, rng)
    customers = build_customers(config.customers, config.daily_rate, config.days, merchants, rng)
    return World(config, customers, merchants, build_calendar(config, customers, rng))
