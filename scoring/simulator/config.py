"""What a simulation is made of. Times are simulated days counted from `start`."""

import hashlib
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

TYPOLOGIES = (
    "card_testing",
    "account_takeover",
    "stolen_card",
    "compromised_merchant",
    "mule_account",
    "structuring",
)


@dataclass(frozen=True, slots=True)
class FraudWave:
    """`typology` begins `multiplier` times as many incidents for `days` days from `start_day`."""

    typology: str
    start_day: float
    days: float
    multiplier: float

    def __post_init__(self) -> None:
        if self.typology not in TYPOLOGIES:
            raise ValueError(f"typology {self.typology!r} is unknown; known: {', '.join(TYPOLOGIES)}")
        if self.start_day < 0 or self.days <= 0 or self.multiplier <= 0:
            raise ValueError("a wave needs start_day >= 0, days > 0 and multiplier > 0")


@dataclass(frozen=True, slots=True)
class Drift:
    """A lasting change of behaviour from `start_day` on.

    Attributes:
        takeover_mobile_share: share of account takeovers that follow the new pattern: small
            amounts through the mobile app, mostly from the victim's own device.
        takeover_multiplier: how many times as many takeovers begin.
        ecom_shift: share of honest purchases at a terminal that move to online shops.
    """

    start_day: float
    takeover_mobile_share: float = 0.85
    takeover_multiplier: float = 2.0
    ecom_shift: float = 0.25

    def __post_init__(self) -> None:
        if self.start_day < 0 or self.takeover_multiplier <= 0:
            raise ValueError("a drift needs start_day >= 0 and takeover_multiplier > 0")
        for name in ("takeover_mobile_share", "ecom_shift"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1")


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """One simulation; equal configs give equal streams, byte for byte.

    Attributes:
        seed: 0 or more.
        start: aware time of the first simulated midnight.
        days: simulated days.
        customers, merchants: size of the population; at least 50 and 100.
        daily_rate: payments that a customer starts a day, on average. Salaries, direct debits and
            cash deposits come on top (about 10 %).
        fraud_rate: share of fraud among all payments, outside waves and drift.
        cash_threshold_minor: cash from this amount on must be reported to the authorities.
        waves: scripted fraud waves.
        drift: the scripted change of behaviour, if any.
    """

    seed: int = 7
    start: datetime = datetime(2026, 3, 2, tzinfo=UTC)
    days: int = 30
    customers: int = 2_000
    merchants: int = 400
    daily_rate: float = 2.0
    fraud_rate: float = 0.008
    cash_threshold_minor: int = 1_000_000
    waves: tuple[FraudWave, ...] = ()
    drift: Drift | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError("seed must be 0 or more")
        if self.start.tzinfo is None:
            raise ValueError("start must carry a time zone")
        for name, least in (("days", 1), ("customers", 50), ("merchants", 100), ("cash_threshold_minor", 100_000)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}")
        if not 0 < self.daily_rate <= 50:
            raise ValueError("daily_rate must be above 0 and at most 50 payments a customer a day")
        if not 0 <= self.fraud_rate <= 0.2:
            raise ValueError("fraud_rate must be from 0 to 0.2")

    @property
    def start_us(self) -> int:
        """Microseconds from 1970-01-01 UTC to `start`."""
        return round(self.start.timestamp()) * 1_000_000

    @property
    def digest(self) -> str:
        """Eight hex digits that differ between configs; part of every transaction id."""
        values = [f"{field.name}={getattr(self, field.name)!r}" for field in fields(self)]
        return hashlib.sha256("\n".join(values).encode()).hexdigest()[:8]

    def scripted(self, *, wave_at: float = 0.5, drift_at: float = 0.7) -> "SimulationConfig":
        """This config with a card-testing wave and a drift, at these shares of the whole time."""
        wave = FraudWave("card_testing", start_day=wave_at * self.days, days=max(0.1 * self.days, 0.5), multiplier=6.0)
        return replace(self, waves=(wave,), drift=Drift(start_day=drift_at * self.days))
