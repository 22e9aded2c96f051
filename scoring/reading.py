"""From bytes to accepted values. The quick path decodes straight into the type; only a refusal looks closer."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings
from msgspec import Raw, Struct

from scoring.errors import InvalidInput
from scoring.transactions import FieldFault, Transaction, faults_of

MAX_DEPTH = 16
MAX_FAULTS = 20  # told of one object; a hostile body could hold a million
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_decoder = msgspec.json.Decoder(Transaction)
_FIELD_COUNT = len(Transaction.__struct_fields__)
_items_decoder = msgspec.json.Decoder(list[Raw])
_max_future = timedelta(seconds=settings.MAX_FUTURE_SECONDS)

# What a field must be, as the sender is told.
_IDENTIFIER = "a token of 1 to 64 letters, digits, dots, underscores, colons or hyphens"
_EXPECTED = {
    "transaction_id": _IDENTIFIER,
    "occurred_at": 'an RFC 3339 time with an offset, such as "2026-01-31T10:15:30Z"',
    "amount_minor": "a whole number of minor units (cents) from 0 to 1000000000000",
    "currency": 'an ISO 4217 code, such as "EUR"',
    "type": "one of card_payment, transfer, cash_withdrawal, cash_deposit, direct_debit",
    "channel": "one of pos, ecom, atm, moto, branch, mobile, web, api",
    "mcc": 'a text of four digits, such as "5411"',
    "country": 'an ISO 3166 alpha-2 code in capitals, such as "DE"',
    "home_country": 'an ISO 3166 alpha-2 code in capitals, such as "DE"',
    "latitude": "a number from -90 to 90",
    "longitude": "a number from -180 to 180",
    "card_present": "true or false",
    "is_recurring": "true or false",
    "ip": "an IPv4 or IPv6 address",
    "decision_id": "the decision_id of an earlier answer",
    "label": "one of fraud, legitimate, dispute, chargeback",
    "source": "one of analyst, customer, network, chargeback, simulator",
    "fraud_type": "a text of at most 40 letters, digits, underscores or hyphens",
    "confidence": "a number from 0 to 1",
    "reported_at": 'an RFC 3339 time with an offset, such as "2026-01-31T10:15:30Z"',
    "label_id": _IDENTIFIER,
}


def read_transaction(body: bytes | Raw, received_at: datetime) -> Transaction:
    """Return the transaction in a JSON body.

    Raises:
        InvalidInput: with every fault that was found.
    """
    try:
        transaction = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise _explained(bytes(body), Transaction) from None
    if _may_repeat_a_name(bytes(body), transaction):
        _refuse_repeated_names(bytes(body))
    return _accepted(transaction, received_at)


def read_transaction_object(raw: dict[str, Any], received_at: datetime) -> Transaction:
    """Return the transaction in a decoded object; raises as `read_transaction` does."""
    if not isinstance(raw, dict):
        raise InvalidInput([FieldFault("", "not_an_object", "a transaction must be one object")])
    try:
        transaction = msgspec.convert(raw, Transaction)
    except (msgspec.ValidationError, OverflowError):
        raise InvalidInput(field_faults(raw, Transaction)) from None
    return _accepted(transaction, received_at)


def _accepted(transaction: Transaction, received_at: datetime) -> Transaction:
    if faults := faults_of(transaction, received_at, _max_future):
        raise InvalidInput(faults)
    return transaction


def split_items(body: bytes, *, ndjson: bool) -> list[bytes | Raw]:
    """Return the items of a batch, undecoded.

    Raises:
        InvalidInput: not an array, or more items than a batch may have.
    """
    if ndjson:
        items: list[bytes | Raw] = [line for line in body.split(b"\n") if line.strip()]
    else:
        try:
            items = _items_decoder.decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise _malformed("the body must be a JSON array of transactions") from None
    check_item_count(len(items))
    return items


def check_item_count(count: int) -> None:
    """Refuse a batch of so many items, where it may not have them.

    Raises:
        InvalidInput: as said.
    """
    if not 1 <= count <= settings.MAX_BATCH_ITEMS:
        message = f"a batch has 1 to {settings.MAX_BATCH_ITEMS} items; split larger ones"
        raise InvalidInput([FieldFault("", "batch_size", message)])


def decode_object(body: bytes) -> Any:
    """Return the decoded JSON of a body that is not on the quick path.

    Raises:
        InvalidInput: not JSON, nested too deeply, or an object that names a field twice.
    """
    _check_depth(body)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise _malformed("the body must be valid JSON in UTF-8, without NaN or Infinity") from None
    _refuse_repeated_names(body)
    return value


def _may_repeat_a_name(body: bytes, transaction: Transaction) -> bool:
    """Tell cheaply that no field is named twice: as many members in the text as fields that are set.

    No accepted value holds a comma. A field that was sent as null is not among those set, and has to be looked at.
    """
    return body.count(b",") + 1 != _FIELD_COUNT - msgspec.structs.astuple(transaction).count(None)


def _refuse_repeated_names(body: bytes) -> None:
    """Refuse an object in which a field occurs twice: one reader would take the first value and another the last."""
    json.loads(body, object_pairs_hook=_distinct, parse_int=str, parse_float=str)


def _distinct(members: list[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in members:
        if name in seen:
            raise InvalidInput([FieldFault(f"/{_shown(name)}", "duplicate_key", "each field may occur once")])
        seen.add(name)


def _shown(name: Any) -> str:
    """Return a sender's field name where it is harmless to repeat, else an ellipsis."""
    return name if isinstance(name, str) and len(name) <= 40 and name.isidentifier() and name.isascii() else "…"


def _explained(body: bytes, kind: type[Struct]) -> InvalidInput:
    try:
        raw = decode_object(body)
    except InvalidInput as error:
        return error
    if not isinstance(raw, dict):
        return InvalidInput([FieldFault("", "not_an_object", "the body must be one JSON object")])
    faults = field_faults(raw, kind)
    # A fault that shows only in the undecoded text, such as a number too large for any type.
    return InvalidInput(
        faults or [FieldFault("", "malformed_json", "the body must be valid JSON with numbers of a sensible size")]
    )


def _malformed(message: str) -> InvalidInput:
    return InvalidInput([FieldFault("", "malformed_json", message)], "the body could not be read")


def _check_depth(body: bytes) -> None:
    """Refuse nesting beyond MAX_DEPTH before anything recurses. Braces inside texts count too: no field needs so many."""
    depth = 0
    for byte in body.translate(None, _NO_BRACKETS):
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                message = f"the body is nested more than {MAX_DEPTH} levels deep; send a flat object"
                raise InvalidInput([FieldFault("", "too_deep", message)], "the body could not be read")
        else:
            depth -= 1


def field_faults(raw: dict[str, Any], kind: type[Struct]) -> list[FieldFault]:
    """Return every fault of a decoded object, a field at a time; never echoes a value."""
    faults = []
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for name in raw:
        if len(faults) >= MAX_FAULTS:
            return faults
        if name not in fields:
            faults.append(
                FieldFault(
                    f"/{_shown(name)}",
                    "unknown_field",
                    "there is no such field; see the API documentation for those that there are",
                )
            )
    for name, field in fields.items():
        expected = _EXPECTED.get(name, _IDENTIFIER)
        if name not in raw:
            if field.required:
                faults.append(FieldFault(f"/{name}", "required", f"{name} is required: {expected}"))
            continue
        try:
            msgspec.convert(raw[name], field.type)
        except (msgspec.ValidationError, OverflowError):
            faults.append(FieldFault(f"/{name}", "invalid_value", f"{name} must be {expected}"))
    return faults
