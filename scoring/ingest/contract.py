"""The fields of a payment in the public API, as far as a mapping needs to know them."""

import re

TEXT_FIELDS = (
    "currency",
    "type",
    "channel",
    "customer_id",
    "account_id",
    "card_id",
    "merchant_id",
    "terminal_id",
    "device_id",
    "counterparty_id",
    "mcc",
    "country",
    "home_country",
    "ip",
)
NUMBER_FIELDS = ("latitude", "longitude")
FLAG_FIELDS = ("card_present", "is_recurring")
ENTITY_FIELDS = tuple(name for name in TEXT_FIELDS if name.endswith("_id"))
REQUIRED_FIELDS = ("currency", "type", "channel")
# A payment names at least one of these.
OWNER_FIELDS = ("customer_id", "account_id", "card_id")

TYPES = ("card_payment", "transfer", "cash_withdrawal", "cash_deposit", "direct_debit")
CHANNELS = ("pos", "ecom", "atm", "moto", "branch", "mobile", "web", "api")
LABEL_SOURCES = ("analyst", "customer", "network", "chargeback", "simulator")

MAX_AMOUNT_MINOR = 10**12
ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")

_VALUE_PATTERNS = {
    "currency": re.compile(r"[A-Z]{3}\Z"),
    "type": re.compile("(?:" + "|".join(TYPES) + r")\Z"),
    "channel": re.compile("(?:" + "|".join(CHANNELS) + r")\Z"),
    "mcc": re.compile(r"[0-9]{4}\Z"),
    "country": re.compile(r"[A-Z]{2}\Z"),
    "home_country": re.compile(r"[A-Z]{2}\Z"),
    "ip": re.compile(r"[0-9A-Fa-f.:]{2,45}\Z"),
}


def is_allowed_text(field: str, value: str) -> bool:
    """Whether the public API takes `value` in the text field `field`."""
    return _VALUE_PATTERNS.get(field, ID_PATTERN).match(value) is not None


def looks_like_card_number(value: str) -> bool:
    """Whether `value` is 13-19 digits (spaces and dashes ignored) that pass the Luhn check."""
    digits = value.replace(" ", "").replace("-", "")
    if not 13 <= len(digits) <= 19 or not (digits.isascii() and digits.isdigit()):
        return False
    total = 0
    for position, character in enumerate(reversed(digits)):
        digit = int(character) * (1 + position % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0
