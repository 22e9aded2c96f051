"""Named lists that rules can ask about, and the snapshot of their entries that an engine works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from django.db.models import Q

from scoring.models import ListEntry
from scoring.transactions import Transaction

# list -> the field of the transaction that is looked up in it
LISTS = {
    "blocked_cards": "card_id",
    "blocked_devices": "device_id",
    "blocked_beneficiaries": "counterparty_id",
    "blocked_merchants": "merchant_id",
    "watched_countries": "country",
    "watched_customers": "customer_id",
}


@dataclass(frozen=True)
class ListSnapshot:
    """The values of every list at one moment."""

    values: dict[str, frozenset[str]] = field(default_factory=dict)

    def memberships(self, transactions: Sequence[Transaction], list_names: tuple[str, ...]) -> np.ndarray:
        """Return bool [n, L]: whether each transaction is on each list."""
        found = np.zeros((len(transactions), len(list_names)), bool)
        for column, name in enumerate(list_names):
            if values := self.values.get(name):
                of = LISTS[name]
                found[:, column] = [getattr(t, of) in values for t in transactions]
        return found


def read_lists(now: datetime) -> ListSnapshot:
    """Return the entries that have not expired at `now`."""
    values: dict[str, set[str]] = {}
    live = ListEntry.objects.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now), list_name__in=LISTS)
    for name, value in live.values_list("list_name", "value"):
        values.setdefault(name, set()).add(value)
    return ListSnapshot({name: frozenset(found) for name, found in values.items()})
