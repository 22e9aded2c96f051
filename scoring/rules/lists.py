"""Named lists that rules can ask about, and the snapshot of their entries that an engine works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
from django.db.models import Q

from scoring.models import ListEntry

# list -> the field of the transaction that is looked up in it
LISTS = {
    "blocked_cards": "card_id",
    "blocked_devices": "device_id",
    "blocked_beneficiaries": "counterparty_id",
    "blocked_merchants": "merchant_id",
    "watched_countries": "country",
    "watched_customers": "customer_id",
}


class NamedTokens(Protocol):
    """n transactions whose identifiers can be asked for by field."""

    def __len__(self) -> int: ...

    def tokens(self, name: str) -> list[str | None]:
        """Return [n] values of a field; None where a transaction does not name it."""


@dataclass(frozen=True)
class ListSnapshot:
    """The values of every list at one moment."""

    values: dict[str, frozenset[str]] = field(default_factory=dict)

    def memberships(self, transactions: NamedTokens, list_names: tuple[str, ...]) -> np.ndarray:
        """Return bool [n, L]: whether each transaction is on each list."""
        found = np.zeros((len(transactions), len(list_names)), bool)
        for column, name in enumerate(list_names):
            if values := self.values.get(name):
                found[:, column] = [token in values for token in transactions.tokens(LISTS[name])]
        return found


def read_lists(now: datetime) -> ListSnapshot:
    """Return the entries that have not expired at `now`."""
    values: dict[str, set[str]] = {}
    live = ListEntry.objects.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now), list_name__in=LISTS)
    for name, value in live.values_list("list_name", "value"):
        values.setdefault(name, set()).add(value)
    return ListSnapshot({name: frozenset(found) for name, found in values.items()})
