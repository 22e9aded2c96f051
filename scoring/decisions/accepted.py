"""The parse stage: bodies of a whole batch become accepted transactions, or say what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scoring.decisions.requests import DecisionRequest
from scoring.errors import InvalidInput
from scoring.reading import read_transaction
from scoring.transactions import Transaction, canonical_json


@dataclass(frozen=True)
class Accepted:
    """n accepted transactions in order of arrival.

    Attributes:
        places: [n] where each stands in the batch of requests.
        transactions, texts, ids: [n] the transaction, its canonical JSON, its transaction id.
    """

    places: list[int]
    transactions: list[Transaction]
    texts: list[str]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Accepted:
        """Return those at `rows`."""
        if len(rows) == len(self.ids):
            return self
        return Accepted(*([column[i] for i in rows] for column in (self.places, self.transactions, self.texts, self.ids)))


def read_requests(requests: Sequence[DecisionRequest]) -> tuple[Accepted, list[InvalidInput | None]]:
    """Return what is accepted, and for each request why it is refused, or None."""
    places, transactions, texts, ids = [], [], [], []
    refusals: list[InvalidInput | None] = [None] * len(requests)
    for place, request in enumerate(requests):
        try:
            transaction = read_transaction(request.body, datetime.fromtimestamp(request.received_us / 1e6, UTC))
        except InvalidInput as refusal:
            refusals[place] = refusal
            continue
        places.append(place)
        transactions.append(transaction)
        texts.append(canonical_json(transaction).decode())
        ids.append(transaction.transaction_id)
    return Accepted(places, transactions, texts, ids), refusals
