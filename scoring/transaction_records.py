"""The transaction as the quick reader takes it: built from the type itself, so that only one place says what is accepted."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, get_args

import msgspec
from msgspec.inspect import BoolType, DateTimeType, Field, FloatType, IntType, LiteralType, NoneType, StrType, UnionType

from scoring.engine import FieldKind, RecordField, RecordReader
from scoring.transactions import CURRENCIES, ENTITY_FIELDS, Channel, Transaction, TransactionType

CURRENCY_CODES = tuple(sorted(CURRENCIES))
"""A currency's code in a batch of records is its position here."""
_CHOICES = {frozenset(get_args(literal)): get_args(literal) for literal in (TransactionType, Channel)}
_TOKEN_PATTERN = r"^[A-Za-z0-9._:\-]+$(?!\n)"
_ADDRESS_PATTERN = r"^[0-9A-Fa-f.:]+$(?!\n)"
_COUNTED_PATTERN = re.compile(r"\^\[(A-Z|0-9)\]\{([0-9])\}\$\(\?!\\n\)")


@cache
def transaction_reader() -> RecordReader:
    """Return the reader of transactions.

    What it accepts is what `read_transaction` accepts, but for what needs more than one field or a clock: that there is a
    payer, and that the time lies neither before 1970 nor too far ahead.
    """
    return RecordReader([_record_field(field) for field in msgspec.inspect.type_info(Transaction).fields])


def _record_field(field: Field) -> RecordField:
    rules: dict[str, Any] = {"name": field.name, "required": field.required}
    if field.name == "currency":
        return RecordField(kind=FieldKind.CHOICE, choices=CURRENCY_CODES, **rules)
    kind = _without_none(field.type)
    match kind:
        case LiteralType(values=values):
            return RecordField(kind=FieldKind.CHOICE, choices=_CHOICES[frozenset(values)], **rules)
        case IntType(ge=0, le=int(largest)):
            return RecordField(kind=FieldKind.INTEGER, largest=largest, **rules)
        case FloatType(ge=low, le=high) if low is not None and high is not None:
            return RecordField(kind=FieldKind.NUMBER, low=float(low), high=float(high), **rules)
        case DateTimeType(tz=True):
            return RecordField(kind=FieldKind.TIME, **rules)
        case BoolType():
            return RecordField(kind=FieldKind.BOOLEAN, **rules)
        case StrType(pattern=str()):
            return _text_field(kind, rules)
    raise TypeError(f"the quick reader knows no kind for {field.name}: {kind}; see kernels/flat_records")


def _text_field(kind: StrType, rules: dict[str, Any]) -> RecordField:
    lengths = {"shortest": kind.min_length, "longest": kind.max_length}
    if kind.pattern == _TOKEN_PATTERN:
        is_searched = rules["name"] in ("transaction_id", *ENTITY_FIELDS)
        return RecordField(kind=FieldKind.TOKEN, refuse_card_numbers=is_searched, **lengths, **rules)
    if kind.pattern == _ADDRESS_PATTERN:
        return RecordField(kind=FieldKind.ADDRESS, **lengths, **rules)
    if (counted := _COUNTED_PATTERN.fullmatch(kind.pattern)) is None:
        raise TypeError(f"the quick reader knows no kind for the pattern of {rules['name']}: {kind.pattern}")
    return RecordField(kind=FieldKind.LETTERS if counted[1] == "A-Z" else FieldKind.DIGITS, length=int(counted[2]), **rules)


def _without_none(kind: Any) -> Any:
    if not isinstance(kind, UnionType):
        return kind
    (left,) = (part for part in kind.types if not isinstance(part, NoneType))
    return left
