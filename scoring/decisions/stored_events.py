"""What the ledger says of events that the shared log told of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
from django.db.models import F

from scoring.decisions.accepted import id_spans, read_texts
from scoring.decisions.stamps import Stamp
from scoring.models import Decision

_LOOKUP_CHUNK = 500


def which_are_stored(texts: Sequence[bytes], keys: np.ndarray) -> np.ndarray:
    """Return bool [n]: whether the ledger has just this decision on each canonical transaction.

    A decision of another process on the same transaction is not this one.
    """
    stored = dict(_decisions(_ids_of(texts)))
    found = [stored.get(name) for name in _ids_of(texts)]
    return np.array([of is not None and int(of[-12:], 16) == key for of, key in zip(found, keys.tolist(), strict=True)], bool)


def events_of(transaction_ids: Sequence[str]) -> tuple[np.ndarray, list[bytes]]:
    """Return (event keys, canonical transactions) of those that are stored."""
    rows = []
    for start in range(0, len(transaction_ids), _LOOKUP_CHUNK):
        chunk = list(transaction_ids[start : start + _LOOKUP_CHUNK])
        rows += Decision.objects.filter(transaction_id__in=chunk).values_list("decision_id", "transaction")
    return _events(rows)


def degraded_since(since_ms: int) -> tuple[np.ndarray, list[bytes]]:
    """Return (event keys, canonical transactions) of what was received since then and decided on degraded features."""
    degraded = (
        Decision.objects.filter(seq__gt=_last_before(datetime.fromtimestamp(since_ms / 1000, UTC)))
        .annotate(of_features=F("stamps").bitand(int(Stamp.DEGRADED_FEATURES)))
        .filter(of_features__gt=0)
        .order_by("seq")
    )
    return _events(degraded.values_list("decision_id", "transaction"))


def _last_before(moment: datetime) -> int:
    """Return a number below those of all decisions since `moment`; neither times nor stamps have an index."""
    newest = Decision.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    back = 1_000
    while back < newest:
        row = Decision.objects.filter(seq__lte=newest - back).order_by("-seq").values_list("seq", "received_at").first()
        if row is None or row[1] < moment:
            return row[0] if row else 0
        back *= 4
    return 0


def _ids_of(texts: Sequence[bytes]) -> list[str]:
    records = read_texts(texts)
    starts, lengths = id_spans(records)
    return [records.text[start : start + n].decode() for start, n in zip(starts.tolist(), lengths.tolist(), strict=True)]


def _decisions(transaction_ids: Sequence[str]) -> Iterable[tuple[str, str]]:
    for start in range(0, len(transaction_ids), _LOOKUP_CHUNK):
        chunk = list(transaction_ids[start : start + _LOOKUP_CHUNK])
        yield from Decision.objects.filter(transaction_id__in=chunk).values_list("transaction_id", "decision_id")


def _events(rows: Iterable[tuple[str, str]]) -> tuple[np.ndarray, list[bytes]]:
    rows = list(rows)
    return np.array([int(of[-12:], 16) for of, _ in rows], np.uint64), [text.encode() for _, text in rows]
