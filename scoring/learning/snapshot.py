"""A frozen view of the ledger: which rows and which labels a training run may see, whatever arrives meanwhile.

Both tables are append-only, so a view is frozen by two numbers, the last ledger row and the last label. Reading is by
event time in bounded chunks; each chunk is a query of its own, so no long transaction holds back the decision path.

On PostgreSQL a transaction that was open while the snapshot was taken may commit a row with a smaller number afterwards.
Such a row is recent by event time and therefore not matured, unless it was also late; a run that is resumed could then
see one row more than its first attempt did. `RowSample.digest` tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

import numpy as np
from django.db.models import Max, Min, Q

from scoring.engine import unpack_rows
from scoring.models import Decision, Label
from scoring.truth import FRAUD_KINDS, UNSETTLED, truth_of

CHUNK_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run may see: ledger rows up to `last_seq`, labels up to `last_label_id`, events before `matured_until`.

    Only rows that are older than the maturity are used, frauds too: a fraud that is reported early would otherwise be
    counted against good rows that are still missing, and the fraud rate of the newest days would be far too high.
    """

    last_seq: int
    last_label_id: int
    as_of: datetime
    matured_until: datetime

    def to_json(self) -> dict:
        return {
            "last_seq": self.last_seq,
            "last_label_id": self.last_label_id,
            "as_of": self.as_of.isoformat(),
            "matured_until": self.matured_until.isoformat(),
        }

    @classmethod
    def from_json(cls, stored: dict) -> Snapshot:
        return cls(
            last_seq=stored["last_seq"],
            last_label_id=stored["last_label_id"],
            as_of=datetime.fromisoformat(stored["as_of"]),
            matured_until=datetime.fromisoformat(stored["matured_until"]),
        )


@dataclass(frozen=True, slots=True)
class RowHeaders:
    """Rows without their features, in event-time order; every array is [n]."""

    seq: np.ndarray  # int64
    occurred_us: np.ndarray  # int64, microseconds since 1970
    label: np.ndarray  # int8, 1 fraud, 0 good
    amount_minor: np.ndarray  # int64, minor units
    currency: np.ndarray  # U3, ISO 4217

    @classmethod
    def of(cls, rows: Sequence[tuple]) -> RowHeaders:
        """Return (seq, occurred_us, label, amount_minor, currency) tuples as columns."""
        columns = zip(*rows, strict=True) if rows else ((),) * 5
        types = (np.int64, np.int64, np.int8, np.int64, "U3")
        return cls(*(np.array(column, of_type) for column, of_type in zip(columns, types, strict=True)))

    @classmethod
    def concatenate(cls, parts: Sequence[RowHeaders]) -> RowHeaders:
        if not parts:
            return cls.of([])
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def __len__(self) -> int:
        return len(self.seq)

    def where(self, rows: np.ndarray) -> RowHeaders:
        """Return the rows that `rows` (a mask or indices) picks."""
        return RowHeaders(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(slots=True)
class LeftOut:
    """Matured rows that cannot be learnt from, by reason."""

    unsettled: int = 0
    other_schema: dict[str, int] = field(default_factory=dict)


def freeze(maturity: timedelta) -> Snapshot | None:
    """Return the view of this moment, or None while the ledger is empty.

    The newest event time stands for "now": a replayed history matures by its own clock.
    """
    newest = Decision.objects.aggregate(last_seq=Max("seq"), as_of=Max("occurred_at"))
    if newest["last_seq"] is None:
        return None
    last_label_id = Label.objects.aggregate(last=Max("id"))["last"] or 0
    return Snapshot(newest["last_seq"], last_label_id, newest["as_of"], newest["as_of"] - maturity)


def oldest_event(snapshot: Snapshot, feature_schema: str) -> datetime | None:
    """Return the event time of the first usable row, or None where no usable row has matured."""
    rows = Decision.objects.filter(
        seq__lte=snapshot.last_seq, occurred_at__lt=snapshot.matured_until, feature_schema=feature_schema
    )
    return rows.aggregate(oldest=Min("occurred_at"))["oldest"]


def new_matured_frauds(snapshot: Snapshot, previous: Snapshot | None) -> int:
    """Count transactions with a matured fraud label that `previous` could not use yet."""
    labels = Label.objects.filter(id__lte=snapshot.last_label_id, occurred_at__lt=snapshot.matured_until, label__in=FRAUD_KINDS)
    if previous is not None:
        labels = labels.filter(Q(id__gt=previous.last_label_id) | Q(occurred_at__gte=previous.matured_until))
    return labels.values("decision").distinct().count()


def iter_headers(
    snapshot: Snapshot, feature_schema: str, *, since: datetime, until: datetime, left_out: LeftOut | None = None
) -> Iterator[RowHeaders]:
    """Yield the labelled rows with since <= occurred_at < until in event-time order, a chunk at a time.

    A row without a label counts as good, as it has matured, unless the payment was stopped (scoring.truth). Unsettled
    rows, and those with features of another schema, are left out and counted in `left_out`.

    Raises:
        ValueError: `until` lies beyond the matured range.
    """
    if until > snapshot.matured_until:
        raise ValueError(f"rows until {until} are asked for, but only those before {snapshot.matured_until} have matured")
    left_out = LeftOut() if left_out is None else left_out
    for chunk in _ledger_chunks(snapshot, since, until):
        truth = _labels_of(snapshot, [row[0] for row in chunk])
        kept = []
        for seq, occurred_at, amount_minor, currency, schema, outcome, mode in chunk:
            label = truth_of(truth.get(seq), outcome, mode)
            if schema != feature_schema:
                left_out.other_schema[schema] = left_out.other_schema.get(schema, 0) + 1
            elif label == UNSETTLED:
                left_out.unsettled += 1
            else:
                kept.append((seq, microseconds(occurred_at), label, amount_minor, currency))
        if kept:
            yield RowHeaders.of(kept)


def read_features(seqs: np.ndarray, width: int) -> np.ndarray:
    """Return the stored features [n, width] float32 of the rows `seqs` [n], in this order.

    Raises:
        ValueError: a row is missing or holds another number of features.
    """
    matrix = np.empty((len(seqs), width), np.float32)
    for start in range(0, len(seqs), CHUNK_ROWS):
        wanted = [int(seq) for seq in seqs[start : start + CHUNK_ROWS]]
        stored = dict(Decision.objects.filter(seq__in=wanted).values_list("seq", "features"))
        if missing := [seq for seq in wanted if not stored.get(seq)]:
            raise ValueError(f"ledger row {missing[0]} holds no features where {width} are expected")
        packed = [bytes(stored[seq]) for seq in wanted]
        try:
            matrix[start : start + len(wanted)] = unpack_rows(packed, width)
        except ValueError:
            for seq, row in zip(wanted, packed, strict=True):
                _check_row(seq, row, width)
            raise
    return matrix


def _check_row(seq: int, packed: bytes, width: int) -> None:
    try:
        unpack_rows([packed], width)
    except ValueError as error:
        raise ValueError(f"ledger row {seq}: {error}") from None


def _ledger_chunks(snapshot: Snapshot, since: datetime, until: datetime) -> Iterator[list[tuple]]:
    """Yield (seq, occurred_at, amount_minor, currency, feature_schema, outcome, mode) by (occurred_at, seq).

    The index on occurred_at serves both the order and the position.
    """
    rows = (
        Decision.objects.filter(seq__lte=snapshot.last_seq, occurred_at__lt=until)
        .order_by("occurred_at", "seq")
        .values_list("seq", "occurred_at", "amount_minor", "currency", "feature_schema", "outcome", "mode")
    )
    position = Q(occurred_at__gte=since)
    while chunk := list(rows.filter(position)[:CHUNK_ROWS]):
        yield chunk
        last_seq, last_time = chunk[-1][0], chunk[-1][1]
        position = Q(occurred_at__gte=last_time) & (Q(occurred_at__gt=last_time) | Q(seq__gt=last_seq))


def _labels_of(snapshot: Snapshot, seqs: list[int]) -> dict[int, str]:
    """Return seq -> kind of label as the snapshot knows it: the latest report wins, of two at one time the later stored."""
    reports = (
        Label.objects.filter(decision_id__in=seqs, id__lte=snapshot.last_label_id)
        .order_by("reported_at", "id")
        .values_list("decision_id", "label")
    )
    return dict(reports)


def microseconds(instant: datetime) -> int:
    """Return an aware UTC instant as whole microseconds since 1970."""
    return int(np.datetime64(instant.replace(tzinfo=None), "us").astype(np.int64))
