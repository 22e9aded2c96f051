"""The transaction as the API takes it: types, bounds and what is refused."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

TransactionType = Literal["card_payment", "transfer", "cash_withdrawal", "cash_deposit", "direct_debit"]
Channel = Literal["pos", "ecom", "atm", "moto", "branch", "mobile", "web", "api"]
# In Python "$" also matches before a last line break, which the look-ahead refuses; "\Z" is unknown to JSON Schema.
Identifier = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:\-]+$(?!\n)")]
CountryCode = Annotated[str, Meta(pattern=r"^[A-Z]{2}$(?!\n)")]
ENTITY_FIELDS = ("customer_id", "account_id", "card_id", "merchant_id", "terminal_id", "device_id", "counterparty_id")

# ISO 4217, active alphabetic codes (funds and metals left out).
CURRENCIES = frozenset(
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY "
    "COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR "
    "IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR "
    "MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD "
    "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD "
    "XCG XOF XPF YER ZAR ZMW ZWG".split()
)


class Transaction(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One payment. Identifiers are tokens: a real card number is refused. Money is whole minor units."""

    transaction_id: Identifier
    occurred_at: Annotated[datetime, Meta(tz=True)]
    amount_minor: Annotated[int, Meta(ge=0, le=10**12)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
    type: TransactionType
    channel: Channel
    customer_id: Identifier | None = None
    account_id: Identifier | None = None
    card_id: Identifier | None = None
    merchant_id: Identifier | None = None
    terminal_id: Identifier | None = None
    device_id: Identifier | None = None
    counterparty_id: Identifier | None = None
    mcc: Annotated[str, Meta(pattern=r"^[0-9]{4}$(?!\n)")] | None = None
    country: CountryCode | None = None
    home_country: CountryCode | None = None
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    card_present: bool | None = None
    is_recurring: bool | None = None
    ip: Annotated[str, Meta(min_length=2, max_length=45, pattern=r"^[0-9A-Fa-f.:]+$(?!\n)")] | None = None


class FieldFault(Struct, frozen=True):
    """One fault of the input: where (JSON Pointer), a stable code, and what to do."""

    param: str
    code: str
    message: str


_canonical = msgspec.json.Encoder(order="deterministic")


def canonical_json(transaction: Transaction) -> bytes:
    """Return the one serialisation of equal transactions, whatever white space, field order or UTC offset they came with."""
    if transaction.occurred_at.utcoffset():
        transaction = msgspec.structs.replace(transaction, occurred_at=transaction.occurred_at.astimezone(UTC))
    return _canonical.encode(transaction)


def faults_of(transaction: Transaction, received_at: datetime, max_future: timedelta) -> list[FieldFault]:
    """Return what the types alone cannot refuse; an empty list means that the transaction is accepted."""
    faults = []
    if transaction.currency not in CURRENCIES:
        faults.append(FieldFault("/currency", "unknown_currency", "currency must be an ISO 4217 code, such as EUR"))
    if transaction.occurred_at > received_at + max_future:
        ahead = f"{max_future.total_seconds():.0f} s"
        message = f"occurred_at may lie at most {ahead} ahead of this server's clock; check the sender's clock"
        faults.append(FieldFault("/occurred_at", "in_the_future", message))
    if transaction.occurred_at < _EPOCH:
        faults.append(FieldFault("/occurred_at", "too_old", "occurred_at must not lie before 1970"))
    if transaction.customer_id is None and transaction.account_id is None and transaction.card_id is None:
        message = "send at least one of customer_id, account_id, card_id: without any there is no history to compare with"
        faults.append(FieldFault("", "no_payer", message))
    if transaction.ip is not None and not _is_address(transaction.ip):
        faults.append(FieldFault("/ip", "invalid_value", "ip must be an IPv4 or IPv6 address"))
    for name in ("transaction_id", *ENTITY_FIELDS):
        value = getattr(transaction, name)
        if value is not None and len(value) >= 13 and holds_card_number(value):
            message = f"{name} looks like a card number; send a token instead, card numbers are not accepted"
            faults.append(FieldFault(f"/{name}", "card_number_not_accepted", message))
    return faults


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_WITHOUT_SEPARATORS = str.maketrans("", "", "-._:")


# Digits with at most one separator between two of them, as card numbers are written.
_DIGIT_RUN = re.compile(r"[0-9](?:[-._:]?[0-9]){12,}")
# Payment cards begin with 3 to 6, or with 2221 to 2720. Identifiers that begin with a date do not.
_ISSUER = re.compile(r"[3-6]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720")


def holds_card_number(text: str) -> bool:
    """Return whether `text` holds 13-19 digits (separators allowed) that begin and check (Luhn) as a card number does."""
    for found in _DIGIT_RUN.finditer(text):
        digits = re.sub(r"[^0-9]", "", found[0])
        if len(digits) <= 19 and _ISSUER.match(digits) and _luhn_is_right(digits):
            return True
    return False


def _luhn_is_right(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def utc_microseconds(moment: datetime) -> int:
    """Return microseconds since 1970, exactly (a float of seconds would round)."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_stored = msgspec.json.Decoder(Transaction)


def parse_stored(text: str | bytes) -> Transaction:
    """Return the transaction that the ledger kept as canonical JSON."""
    return _stored.decode(text)
