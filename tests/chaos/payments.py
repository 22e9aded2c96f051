"""The payments of a run: each body follows from its name, so that a journal of names and digests is enough to ask again."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Few entities, so that every client's payments lie in the same windows.
CARDS, CUSTOMERS, MERCHANTS, TERMINALS, DEVICES, BENEFICIARIES = 23, 19, 11, 13, 17, 7
# Spread over the last days; a late one is older than what the engine accepts into its windows (MAX_LATENESS_DAYS).
SPREAD = timedelta(days=3)
LATE = timedelta(days=9)
# Well-known test numbers: they pass the check of a card number, belong to nobody, and are only ever sent where they
# must be refused.
PLANTED_CARD_NUMBERS = ("4111111111111111", "5555555555554444", "4012888888881881", "2223003122003222")
KINDS = (("card_payment", "pos"), ("card_payment", "ecom"), ("transfer", "mobile"), ("cash_deposit", "branch"))


@dataclass(frozen=True, order=True, slots=True)
class Item:
    """One payment as it is sent: `variant` 0 is the payment, another number the same id with another body.

    A name that starts with "bad" is a payment that has to be refused.
    """

    name: str
    variant: int = 0

    @property
    def must_be_refused(self) -> bool:
        return self.name.startswith("bad")


class Payments:
    """The bodies of a run that started at `base`."""

    def __init__(self, base: datetime) -> None:
        self.base = base

    def fields(self, item: Item) -> dict[str, object]:
        """Return the body as an object; the same for the same item, whoever asks."""
        draw = _Draw(item.name)
        kind, channel = KINDS[draw.below(len(KINDS))]
        # One in a hundred comes too late, on a card of its own: the independent recount leaves those out.
        late = draw.below(100) == 0
        prefix = "late" if late else "e"
        age = LATE if late else SPREAD * (draw.below(1_000_000) / 1_000_000)
        body: dict[str, object] = {
            "transaction_id": item.name,
            "occurred_at": (self.base - age).isoformat(timespec="milliseconds"),
            "amount_minor": 100 + draw.below(50_000) + item.variant,
            "currency": "EUR",
            "type": kind,
            "channel": channel,
            "customer_id": f"{prefix}-cust-{draw.below(CUSTOMERS)}",
            "account_id": f"{prefix}-acct-{draw.below(CUSTOMERS)}",
            "card_id": f"{prefix}-card-{draw.below(CARDS)}",
            "country": ("DE", "FR", "NL")[draw.below(3)],
        }
        if kind == "card_payment":
            body["merchant_id"] = f"{prefix}-mer-{draw.below(MERCHANTS)}"
            body["terminal_id"] = f"{prefix}-term-{draw.below(TERMINALS)}"
        if channel in ("ecom", "mobile"):
            body["device_id"] = f"{prefix}-dev-{draw.below(DEVICES)}"
        if kind == "transfer":
            body["counterparty_id"] = f"{prefix}-ben-{draw.below(BENEFICIARIES)}"
        if item.must_be_refused:
            body["card_id"] = PLANTED_CARD_NUMBERS[draw.below(len(PLANTED_CARD_NUMBERS))]
        return body

    def body(self, item: Item, *, shuffled: bool = False) -> bytes:
        """Return the JSON text; `shuffled` writes the very same payment in another order of fields and with white space."""
        fields = self.fields(item)
        if shuffled:
            return json.dumps(dict(reversed(fields.items())), indent=1).encode()
        return json.dumps(fields, separators=(",", ":")).encode()

    def digest(self, item: Item) -> str:
        """Return the fingerprint of the body that goes into the journal: 16 hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self.body(item)).hexdigest()[:16]

    def probes(self) -> list[dict[str, object]]:
        """Return payments that together touch each entity, and some of the late ones; for dry runs, which leave nothing."""
        count = max(CARDS, CUSTOMERS, MERCHANTS, TERMINALS, DEVICES, BENEFICIARIES)
        return [_probe(i, prefix, self.base) for prefix, some in (("e", count), ("late", 4)) for i in range(some)]


class _Draw:
    """Numbers that follow from a name; `random.Random(name)` costs a hundred times as much."""

    def __init__(self, name: str) -> None:
        self._state = zlib.crc32(name.encode())

    def below(self, limit: int) -> int:
        # The multiplier of Knuth's MMIX generator; the upper bits are the good ones.
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 33) % limit


def _probe(i: int, prefix: str, base: datetime) -> dict[str, object]:
    return {
        "transaction_id": f"probe-{prefix}-{i}",
        # After every payment of the run, and not in the future for the server.
        "occurred_at": (base + timedelta(milliseconds=1)).isoformat(timespec="milliseconds"),
        "amount_minor": 5_000,
        "currency": "EUR",
        "type": "card_payment",
        "channel": "ecom",
        "customer_id": f"{prefix}-cust-{i % CUSTOMERS}",
        "account_id": f"{prefix}-acct-{i % CUSTOMERS}",
        "card_id": f"{prefix}-card-{i % CARDS}",
        "merchant_id": f"{prefix}-mer-{i % MERCHANTS}",
        "terminal_id": f"{prefix}-term-{i % TERMINALS}",
        "device_id": f"{prefix}-dev-{i % DEVICES}",
        "counterparty_id": f"{prefix}-ben-{i % BENEFICIARIES}",
        "country": "DE",
    }


def start_of_run() -> datetime:
    """Return the base time of a run that starts now, in whole milliseconds."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
