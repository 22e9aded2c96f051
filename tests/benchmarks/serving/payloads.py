"""Request bodies: payments of a made-up population, each with a transaction id of its own."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

# So many that none pays every second at the rates that are measured: of 4,000 customers the velocity rules would stop nine
# payments in ten, each of them an alert.
CUSTOMERS, MERCHANTS, DEVICES, COUNTERPARTIES = 400_000, 15_000, 600_000, 300_000
AT_HOME = 0.95
# The transactions of a file happened in the seconds before it was written.
SPREAD_S = 10
# kind: share, type, channel
KINDS = (
    (0.58, "card_payment", "pos"),
    (0.24, "card_payment", "ecom"),
    (0.06, "cash_withdrawal", "atm"),
    (0.07, "transfer", "mobile"),
    (0.05, "transfer", "web"),
)
COUNTRIES = (("GB", "GBP", 52.5, -1.5), ("DE", "EUR", 51.0, 10.0), ("FR", "EUR", 47.0, 2.5), ("US", "USD", 39.0, -98.0))
MCCS = ("5411", "5812", "5541", "5732", "4111", "5999", "5912", "4829")
# Where /dev/shm has less than this left, bodies go to an ordinary temporary directory.
ROOM_BYTES = 1 << 30


@dataclass(frozen=True)
class Population:
    """JSON fragments of the entities, written once: a body is then a few joins, so that writing many costs little."""

    payers: list[str]  # customer, account, card, home country, currency
    homes: list[int]  # of each payer, a place in COUNTRIES
    merchants: list[list[str]]  # by country: merchant, terminal, mcc, country, place
    devices: list[str]
    counterparties: list[str]


def make_population(seed: int = 1) -> Population:
    """Return the same entities for the same seed."""
    rng = np.random.default_rng(seed)
    homes = rng.integers(len(COUNTRIES), size=CUSTOMERS).tolist()
    return Population(
        payers=[_payer(i, *COUNTRIES[home][:2]) for i, home in enumerate(homes)],
        homes=homes,
        merchants=[
            [_merchant(rng, i, *country) for i in range(place, MERCHANTS, len(COUNTRIES))]
            for place, country in enumerate(COUNTRIES)
        ],
        devices=[f'"device_id":"dev-{i:06d}","ip":"198.51.100.{i % 254 + 1}"' for i in range(DEVICES)],
        counterparties=[f'"counterparty_id":"cp-{i:06d}"' for i in range(COUNTERPARTIES)],
    )


def write_singles(path: Path, population: Population, *, count: int, prefix: str, seed: int = 1) -> None:
    """Write one transaction a line; their ids are `prefix-0`, `prefix-1`, ..."""
    with path.open("w") as file:
        file.writelines(body + "\n" for body in transactions(population, count=count, prefix=prefix, seed=seed))


def write_batches(path: Path, population: Population, *, count: int, size: int, prefix: str, seed: int = 1) -> None:
    """Write `count` JSON arrays of `size` transactions, one array a line."""
    bodies = transactions(population, count=count * size, prefix=prefix, seed=seed)
    with path.open("w") as file:
        for start in range(0, len(bodies), size):
            file.write("[" + ",".join(bodies[start : start + size]) + "]\n")


def transactions(population: Population, *, count: int, prefix: str, seed: int = 1) -> list[str]:
    """Return JSON texts of `count` transactions in event order, the last of them just now."""
    rng = np.random.default_rng(seed)
    # Squares of a uniform number: a tenth of the entities makes about a third of the traffic.
    payers, merchants, devices, counterparties = (
        (rng.random(count) ** 2 * size).astype(int).tolist()
        for size in (CUSTOMERS, MERCHANTS // len(COUNTRIES), DEVICES, COUNTERPARTIES)
    )
    travels = (rng.random(count) > AT_HOME).tolist()
    kinds = rng.choice(len(KINDS), size=count, p=[share for share, *_ in KINDS]).tolist()
    amounts = np.maximum(100, rng.lognormal(7.8, 1.1, size=count)).astype(int).tolist()
    times = _times(count)
    bodies = []
    for i in range(count):
        _, kind, channel = KINDS[kinds[i]]
        country = (population.homes[payers[i]] + travels[i]) % len(COUNTRIES)
        parts = (
            f'{{"transaction_id":"{prefix}-{i}","occurred_at":"{times[i]}","amount_minor":{amounts[i]},'
            f'"type":"{kind}","channel":"{channel}"',
            population.payers[payers[i]],
            _rest(population, kind, channel, population.merchants[country][merchants[i]], devices[i], counterparties[i]),
        )
        bodies.append(",".join(parts) + "}")
    return bodies


def bodies_directory() -> Path:
    """Return a new directory for bodies, in memory where that has room.

    Hundreds of megabytes on their way to the disk would slow the server's own commits.
    """
    memory = Path("/dev/shm")
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES
    return Path(tempfile.mkdtemp(prefix="bench-serving-", dir=memory if in_memory else None))


def _rest(population: Population, kind: str, channel: str, merchant: str, device: int, counterparty: int) -> str:
    if kind == "transfer":
        return f"{population.devices[device]},{population.counterparties[counterparty]}"
    if channel == "ecom":
        return f'{merchant},{population.devices[device]},"card_present":false,"is_recurring":false'
    return f'{merchant},"card_present":true'


def _payer(number: int, country: str, currency: str) -> str:
    return (
        f'"customer_id":"cust-{number:06d}","account_id":"acct-{number:06d}","card_id":"card-{number:06d}-{number % 3}",'
        f'"home_country":"{country}","currency":"{currency}"'
    )


def _merchant(rng: np.random.Generator, number: int, country: str, _currency: str, latitude: float, longitude: float) -> str:
    return (
        f'"merchant_id":"mer-{number:05d}","terminal_id":"term-{number:05d}-{number % 4}","mcc":"{MCCS[number % len(MCCS)]}",'
        f'"country":"{country}","latitude":{latitude + rng.normal():.5f},"longitude":{longitude + rng.normal():.5f}'
    )


def _times(count: int) -> list[str]:
    first_second = int(time.time()) - SPREAD_S
    seconds = [datetime.fromtimestamp(first_second + s, UTC).strftime("%Y-%m-%dT%H:%M:%S") for s in range(SPREAD_S)]
    microseconds = (np.arange(count) * (SPREAD_S * 1_000_000) // max(count, 1)).tolist()
    return [f"{seconds[us // 1_000_000]}.{us % 1_000_000:06d}Z" for us in microseconds]
