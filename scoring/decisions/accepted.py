"""The parse stage: bodies of a whole batch become accepted transactions as columns, or say what is wrong with them."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from django.conf import settings

from scoring.decisions.requests import DecisionRequest, ReadBatch
from scoring.engine import Records
from scoring.errors import InvalidInput
from scoring.reading import check_item_count, read_transaction
from scoring.transaction_records import transaction_reader
from scoring.transactions import canonical_json

_READER = transaction_reader()
_SPAN = {name: i for i, name in enumerate(_READER.token_fields)}
_PAYERS = [_SPAN[name] for name in ("customer_id", "account_id", "card_id")]
_ID = _SPAN["transaction_id"]


class Accepted:
    """n accepted transactions in order of arrival.

    Attributes:
        places: [n] where each stands in the batch of requests.
        records: their columns, all of them accepted.
        text: the canonical texts, one after another.
    """

    __slots__ = ("_ids", "_texts", "places", "records", "text")

    def __init__(self, places: Sequence[int], records: Records) -> None:
        self.places, self.records, self.text = places, records, records.text.decode("ascii")
        # Made when they are asked for; a cached_property of Python 3.11 takes a lock each time.
        self._ids: list[str] | None = None
        self._texts: list[str] | None = None

    def __len__(self) -> int:
        return len(self.records)

    @property
    def texts(self) -> list[str]:
        """[n] the canonical text of each."""
        if self._texts is None:
            text, ends = self.text, self.records.ends.tolist()
            self._texts = [text[start:end] for start, end in zip(ends, ends[1:], strict=False)]
        return self._texts

    @property
    def ids(self) -> list[str]:
        """[n] the transaction ids."""
        if self._ids is None:
            self._ids = self.tokens("transaction_id")
        return self._ids

    @property
    def id_spans(self) -> tuple[np.ndarray, np.ndarray]:
        """Where in the text the transaction ids lie: starts and lengths, int32 [n]."""
        return id_spans(self.records)

    def tokens(self, name: str) -> list[str | None]:
        """Return the values [n] of a token field; None where it is absent."""
        text, column = self.text, _SPAN[name]
        starts, lengths = self.records.starts[:, column].tolist(), self.records.lengths[:, column].tolist()
        return [text[a : a + n] if n >= 0 else None for a, n in zip(starts, lengths, strict=True)]

    def take(self, rows: Sequence[int]) -> Accepted:
        """Return those at `rows`."""
        if len(rows) == len(self):
            return self
        return Accepted([self.places[i] for i in rows], read_texts([self.texts[i].encode() for i in rows]))


def id_spans(records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the text the transaction ids lie: starts and lengths, int32 [n]."""
    return records.starts[:, _ID], records.lengths[:, _ID]


def read_texts(texts: Sequence[bytes]) -> Records:
    """Return the columns of canonical texts, such as the ledger keeps.

    Raises:
        ValueError: one is not what this release accepts, such as a currency that it no longer knows.
    """
    records = _READER.read_many(texts, trusted=True)
    if not records.accepted.all():
        name = _name_of(texts[int(records.accepted.argmin())])
        raise ValueError(f"a stored transaction cannot be read by this release: {name}")
    return records


def _name_of(text: bytes) -> str:
    # Of a whole transaction no more than its id goes into a message.
    found = re.search(rb'"transaction_id":"([A-Za-z0-9._:-]{1,64})"', text)
    return found[1].decode() if found else "one without a transaction_id"


def read_requests(requests: Sequence[DecisionRequest]) -> tuple[Accepted, list[InvalidInput | None]]:
    """Return what is accepted, and for each request why it is refused, or None.

    The quick reader takes nearly everything; what it is not sure of, the slow one accepts or explains.
    """
    if type(requests) is ReadBatch:
        records, received_us = requests.records, requests.received_us
    else:
        trusted = False not in [request.trusted for request in requests]  # a generator would take longer than the rest
        records = _READER.read_many([request.body for request in requests], trusted=trusted)
        received_us = np.array([request.received_us for request in requests], np.int64)
    refusals: list[InvalidInput | None] = [None] * len(requests)
    fine = records.accepted.view(bool) & _is_plausible(records, received_us)
    if fine.all():
        return Accepted(range(len(requests)), records), refusals
    places, texts, ends = [], [], records.ends.tolist()
    for place, is_fine in enumerate(fine.tolist()):
        try:
            text = records.text[ends[place] : ends[place + 1]] if is_fine else _read_slowly(requests[place])
        except InvalidInput as refusal:
            refusals[place] = refusal
        else:
            places.append(place)
            texts.append(text)
    return Accepted(places, read_texts(texts)), refusals


def read_whole(body: bytes, first: DecisionRequest, *, ndjson: bool) -> ReadBatch | None:
    """Return the transactions in a body of several, a JSON array or lines; None where the quick reader does not take them all.

    None does not say that something is wrong: `scoring.reading.split_items` then tells the items apart, and what is.

    Args:
        first: a request of the same arrival.

    Raises:
        InvalidInput: a batch has fewer items, or more.
    """
    began = time.perf_counter()
    spans = _READER.split_lines(body) if ndjson else _READER.split_array(body)
    if spans is None:
        return None
    starts, lengths = spans
    n = len(starts)
    check_item_count(n)
    if lengths.max() > settings.MAX_BODY_BYTES:
        return None
    records = _READER.read(body, starts, lengths)
    if not records.accepted.all():
        return None
    arrivals = np.full(n, first.received_us), np.full(n, first.queued_ns)
    return ReadBatch(records, *arrivals, time.perf_counter() - began)


def _is_plausible(records: Records, received_us: np.ndarray) -> np.ndarray:
    """Return bool [n]: what needs more than one field, or the clock, is right."""
    latest = received_us + settings.MAX_FUTURE_SECONDS * 1_000_000
    occurred = records.integers["occurred_at"]
    payers = functools.reduce(np.bitwise_and, [records.lengths[:, at] for at in _PAYERS])  # -1 where all are: none is there
    return (payers >= 0) & (occurred <= latest) & (occurred >= 0)


def _read_slowly(request: DecisionRequest) -> bytes:
    received_at = datetime.fromtimestamp(request.received_us / 1e6, UTC)
    return canonical_json(read_transaction(request.body, received_at))
