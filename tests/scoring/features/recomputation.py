"""Every window feature from the whole history, straight from what its name says: nothing is kept between two answers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta

from scoring.features.schema import KINDS, OWN_COLUMNS, current_schema
from scoring.transactions import Transaction

_LENGTHS = {"m": "minutes", "h": "hours", "d": "days"}
_DELAY = timedelta(days=7)
_LONGEST = timedelta(days=37)  # the delay and the longest risk window
_KIND = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Known:
    """A past transaction, and whether it is known as fraud."""

    transaction: Transaction
    fraud: bool = False


def _length(text: str) -> timedelta:
    return timedelta(**{_LENGTHS[text[-1]]: int(text[:-1])})


def _entity(transaction: Transaction, kind_name: str) -> tuple | None:
    kind = _KIND[kind_name]
    key = tuple(getattr(transaction, name) for name in kind.key)
    if None in key or (kind.only_type is not None and transaction.type != kind.only_type):
        return None
    return key


def window_features(transaction: Transaction, history: list[Known]) -> dict[str, float]:
    """Return name -> value of all window features of `transaction`, which arrives after all of `history`."""
    return {name: _named(name, transaction, history) for name in current_schema().names[len(OWN_COLUMNS) :]}


def _named(name: str, transaction: Transaction, history: list[Known]) -> float:
    if past := re.fullmatch(r"(.+)_last(\d)_(.+)", name):
        return _past(past[1], int(past[2]), past[3], transaction, history)
    return _value(name.split("."), transaction, history)


def _past(kind: str, back: int, what: str, transaction: Transaction, history: list[Known]) -> float:
    of = _before(kind, transaction, [known.transaction for known in history])
    if back >= len(of) or (gap := transaction.occurred_at - of[back].occurred_at) > _LONGEST:
        return math.nan
    if what == "same":
        ours, theirs = (getattr(one, _KIND[kind].distinct) for one in (transaction, of[back]))
        return math.nan if ours is None or theirs is None else float(ours == theirs)
    return {"amount": of[back].amount_minor, "gap": gap.total_seconds()}[what]


def _before(kind: str, transaction: Transaction, history: list[Transaction]) -> list[Transaction]:
    """Return the entity's transactions that lie before this one, nearest first: of equal times the last to arrive."""
    entity, now = _entity(transaction, kind), transaction.occurred_at
    of = [past for past in history if entity is not None and _entity(past, kind) == entity and past.occurred_at <= now]
    return sorted(of, key=lambda past: past.occurred_at)[::-1]


def _value(name: list[str], transaction: Transaction, history: list[Known]) -> float:
    kind, what, *window = name
    entity, now = _entity(transaction, kind), transaction.occurred_at
    if entity is None:
        return math.nan
    of = [past for past in history if _entity(past.transaction, kind) == entity and past.transaction.occurred_at <= now]
    if what == "since_last":
        ages = [now - past.transaction.occurred_at for past in of]
        return min(ages).total_seconds() if ages and min(ages) <= _LONGEST else math.nan
    length = _length(window[0])
    if what.startswith("risk_"):
        end = now - _DELAY
        return _risk(what, [past for past in of if end - length <= past.transaction.occurred_at < end])
    inside = [past.transaction for past in of if past.transaction.occurred_at >= now - length]
    others = {getattr(past, _KIND[kind].distinct) for past in inside} if _KIND[kind].distinct else set()
    return _aggregate(what, transaction.amount_minor, [past.amount_minor for past in inside], len(others - {None}))


def _risk(what: str, inside: list[Known]) -> float:
    frauds = sum(past.fraud for past in inside)
    if what == "risk_rate":
        return frauds / len(inside) if inside else math.nan
    return len(inside) if what == "risk_count" else frauds


def _aggregate(what: str, amount: int, amounts: list[int], distinct: int) -> float:
    if what in ("count", "sum", "distinct"):
        return {"count": len(amounts), "sum": sum(amounts), "distinct": distinct}[what]
    if not amounts:
        return math.nan
    mean = sum(amounts) / len(amounts)
    deviation = math.sqrt(sum((a - mean) ** 2 for a in amounts) / len(amounts))
    return {
        "mean": mean,
        "maximum": max(amounts),
        "ratio": amount / mean if mean else math.nan,
        "zscore": (amount - mean) / (deviation + 100),
    }[what]
