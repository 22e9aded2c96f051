"""Pages of the ledger for the API: filters, and a cursor that stays right while new decisions arrive."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from django.utils.dateparse import parse_datetime

from scoring.entity_index import find_decisions
from scoring.errors import InvalidInput
from scoring.models import Outcome
from scoring.stored_answers import NEEDED, stored_answers
from scoring.transactions import FieldFault

MAX_LIMIT = 200
_TEXT_FILTERS = ("transaction_id", "customer_id", "card_id", "merchant_id")
_TOKEN = re.compile(r"[A-Za-z0-9._:\-]{1,64}")
_KNOWN = {*_TEXT_FILTERS, "cursor", "limit", "outcome", "from", "to", "min_score"}


@dataclass(frozen=True)
class LedgerQuery:
    """Which decisions, from where, how many."""

    limit: int = 50
    before_seq: int | None = None
    filters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LedgerPage:
    """Stored answers (JSON), newest first; `next_cursor` is None on the last page."""

    responses: list[bytes]
    next_cursor: str | None


def ledger_page(query: LedgerQuery) -> LedgerPage:
    """Return one page."""
    rows = find_decisions(query.filters)
    if query.before_seq is not None:
        rows = rows.filter(seq__lt=query.before_seq)
    found = list(rows.order_by("-seq").values_list("seq", *NEEDED, named=True)[: query.limit + 1])
    more, found = len(found) > query.limit, found[: query.limit]
    return LedgerPage(stored_answers(found), _cursor(found[-1].seq) if more else None)


def read_query(parameters: Mapping[str, str]) -> LedgerQuery:
    """Return the query that the URL's parameters ask for.

    Raises:
        InvalidInput: naming each parameter that is unknown or not valid.
    """
    faults = [_fault(name, "there is no such parameter") for name in parameters if name not in _KNOWN]
    filters: dict[str, Any] = {}
    for name in _TEXT_FILTERS:
        if text := parameters.get(name):
            filters[name] = text
            if not _TOKEN.fullmatch(text):
                faults.append(
                    _fault(name, f"{name} must be a token of 1 to 64 letters, digits, dots, underscores, colons or hyphens")
                )
    limit = _whole(parameters, "limit", 50, 1, MAX_LIMIT, faults)
    if "min_score" in parameters:
        filters["score__gte"] = _whole(parameters, "min_score", 0, 0, 1000, faults)
    if outcome := parameters.get("outcome"):
        if outcome in Outcome.labels:
            filters["outcome"] = Outcome.values[Outcome.labels.index(outcome)]
        else:
            faults.append(_fault("outcome", f"outcome must be one of {', '.join(Outcome.labels)}"))
    for name, lookup in (("from", "occurred_at__gte"), ("to", "occurred_at__lt")):
        if text := parameters.get(name):
            filters[lookup] = _moment(name, text, faults)
    before = _seq(parameters["cursor"], faults) if parameters.get("cursor") else None
    if faults:
        raise InvalidInput(faults)
    return LedgerQuery(limit, before, filters)


def _fault(name: str, message: str) -> FieldFault:
    shown = name if name in _KNOWN else "…"  # what the sender made up is not repeated
    return FieldFault(f"/{shown}", "invalid_parameter", message)


def _whole(parameters: Mapping[str, str], name: str, default: int, low: int, high: int, faults: list[FieldFault]) -> int:
    text = parameters.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) < 9 and low <= int(text) <= high:
        return int(text)
    faults.append(_fault(name, f"{name} must be a whole number from {low} to {high}"))
    return default


def _moment(name: str, text: str, faults: list[FieldFault]):
    try:
        moment = parse_datetime(text.replace(" ", "+"))  # an unescaped plus sign arrives as a blank
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    faults.append(_fault(name, f"{name} must be an RFC 3339 time with an offset"))
    return None


def _cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(f"s{seq}".encode()).decode().rstrip("=")


def _seq(cursor: str, faults: list[FieldFault]) -> int | None:
    try:
        text = base64.urlsafe_b64decode(cursor[:40] + "=" * (-len(cursor[:40]) % 4)).decode("ascii")
        if text[:1] == "s" and text[1:].isdigit():
            return int(text[1:])
    except (binascii.Error, ValueError):
        pass
    faults.append(_fault("cursor", "cursor must be a next_cursor of an earlier page, unchanged"))
    return None
