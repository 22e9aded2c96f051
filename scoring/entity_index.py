"""Keeping and using the index of decisions by customer, card and merchant.

It follows the ledger: segments (`scoring.entity_segments`) up to a mark, written by the thread that keeps house. Readers look
into the segments and through the decisions behind the mark, so they find the newest commit and never write.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL

from scoring.entity_segments import MOST_NUMBERS, bucket_of, find_in_segment, hash_of, pack_segments
from scoring.models import Decision, EntityIndexGap, EntityIndexMark, EntitySegment
from scoring.turns import ledger_turn

Kind = EntitySegment.Kind
FIELDS = {"customer_id": Kind.CUSTOMER, "card_id": Kind.CARD, "merchant_id": Kind.MERCHANT}
# What readers look through one by one, at most, and what shares a segment of each bucket.
_CHUNK_ROWS = 8_192
# So many chunks a call while decisions are being made: other work of the thread waits meanwhile.
_BUSY_CHUNKS = 10
# Read at once; on one core decisions wait for it.
_SLICE_ROWS = 512
_BETWEEN = "\n"
# A number is taken before its transaction counts as in progress; this is ample for the moment between.
_GAP_SECONDS = 2.0
_ROWS_A_STATEMENT = 200
_MARK = 1


class _Now(NamedTuple):
    """PostgreSQL's transactions: all below `oldest` have ended, all from `next` on have not begun; its clock, seconds."""

    oldest: int
    next: int
    clock: float


class _Chunk(NamedTuple):
    """Decisions to index: seqs [n] int64 ascending, and for each of FIELDS the entities [n], empty where there is none."""

    seqs: np.ndarray
    entities: Sequence[Sequence[str]]


# --- writing -----------------------------------------------------------------------------------------------------------


def catch_up(busy_share: float = 1.0) -> int:
    """Index the whole chunks of decisions that are not indexed yet; return how many decisions were indexed.

    Below 1, `busy_share` is the share of the time that it may take from decisions that are being made: it pauses between
    its steps, and leaves what is more than some chunks to the next call.

    A mark tells where to go on. On PostgreSQL, where several processes commit, a smaller number may be committed after a
    larger one: the numbers that are missing below the mark are remembered as gaps, and looked at again until nobody can
    fill them any more. Several processes may call this at once; one of them does the work.
    """
    done = _fill_gaps()
    for _ in range(_BUSY_CHUNKS) if busy_share < 1.0 else itertools.count():
        mark = _mark()
        if (end := _end_of_chunk(mark)) is None:
            break
        chunk = _read([(mark + 1, end)], busy_share)
        began = time.monotonic()
        if not _index(mark, chunk):
            break  # another process was quicker
        done += len(chunk.seqs)
        _rest(began, busy_share)
    return done


def _mark() -> int:
    return EntityIndexMark.objects.filter(id=_MARK).values_list("seq", flat=True).first() or 0


def _end_of_chunk(mark: int) -> int | None:
    """Return the last number of the chunk behind the mark; None where there is no whole one."""
    newest = Decision.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    if newest - mark < _CHUNK_ROWS:
        return None
    # A chunk is counted in rows: numbers may be missing, thousands in a row.
    seqs = Decision.objects.filter(seq__gt=mark).order_by("seq").values_list("seq", flat=True)
    return next(iter(seqs[_CHUNK_ROWS - 1 : _CHUNK_ROWS]), None)


def _read(stretches: Sequence[tuple[int, int]], busy_share: float) -> _Chunk:
    """Return the decisions whose numbers lie in one of the stretches (first, last)."""
    seqs: list[str] = []
    entities: list[list[str]] = [[] for _ in FIELDS]
    for first, last in stretches:
        while first <= last:
            began = time.monotonic()
            if (texts := _read_slice(first, last)) is None:
                break
            numbers, *columns = (text.split(_BETWEEN) for text in texts)
            seqs += numbers
            for column, more in zip(entities, columns, strict=True):
                column += more
            first = int(numbers[-1]) + 1
            _rest(began, busy_share)
    return _Chunk(np.array(seqs, np.int64), entities)


def _read_slice(first: int, last: int) -> tuple[str, ...] | None:
    """Return numbers and entities of the next decisions, each column in one text, in ascending order; None where there are none.

    One row comes back: of a row for each decision, each would take the interpreter's lock for itself, and wait for it as
    often while the event loop is busy.
    """
    join = "string_agg({}, chr(10))" if connection.vendor == "postgresql" else "group_concat({}, char(10))"
    columns = ["CAST(seq AS text)", *(f"COALESCE({field}, '')" for field in FIELDS)]
    rows = f"SELECT seq, {', '.join(FIELDS)} FROM {Decision._meta.db_table} WHERE seq >= %s AND seq <= %s ORDER BY seq LIMIT %s"
    with connection.cursor() as cursor:
        # Both databases hand the rows to the aggregates in the order of the inner query.
        cursor.execute(f"SELECT {', '.join(map(join.format, columns))} FROM ({rows}) AS slice", [first, last, _SLICE_ROWS])
        texts = cursor.fetchone()
    return None if texts[0] is None else texts


def _index(mark: int, chunk: _Chunk) -> bool:
    """Store the chunk's segments, its gaps and the new mark, all or nothing; False where the mark is not `mark` any more."""
    gaps, segments = _gaps_in(mark, chunk.seqs), list(_segments(chunk))
    with ledger_turn(), transaction.atomic():
        if not _move_mark(mark, int(chunk.seqs[-1])):
            return False
        _insert(segments)
        EntityIndexGap.objects.bulk_create(gaps)
    return True


def _move_mark(old: int, new: int) -> bool:
    """Move the mark, where nobody else has; from then on others wait for the end of this transaction."""
    if EntityIndexMark.objects.filter(id=_MARK, seq=old).update(seq=new):
        return True
    if old:
        return False
    return EntityIndexMark.objects.get_or_create(id=_MARK, defaults={"seq": new})[1]


def _segments(chunk: _Chunk) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield rows of EntitySegment. Where numbers lie too far apart to be counted from the first, there are several stretches."""
    start = 0
    while start < len(chunk.seqs):
        end = int(np.searchsorted(chunk.seqs, chunk.seqs[start] + MOST_NUMBERS))
        for kind, entities in zip(FIELDS.values(), chunk.entities, strict=True):
            for bucket, entries in pack_segments(entities[start:end], chunk.seqs[start:end]):
                yield int(kind), bucket, int(chunk.seqs[start]), entries
        start = end


def _insert(segments: Sequence[tuple[int, int, int, bytes]]) -> None:
    # Models would keep the decisions waiting ten times as long.
    for start in range(0, len(segments), _ROWS_A_STATEMENT):
        rows = segments[start : start + _ROWS_A_STATEMENT]
        values = ", ".join(["(%s, %s, %s, %s)"] * len(rows))
        with connection.cursor() as cursor:
            insert = f"INSERT INTO {EntitySegment._meta.db_table} (kind, bucket, first_seq, entries) VALUES {values}"
            cursor.execute(insert, list(itertools.chain.from_iterable(rows)))


def _rest(began: float, busy_share: float) -> None:
    """Pause for as long as leaves the work since `began` that share of the time."""
    if busy_share < 1.0:
        time.sleep((time.monotonic() - began) * (1.0 / busy_share - 1.0))


# --- gaps --------------------------------------------------------------------------------------------------------------


def _gaps_in(mark: int, seqs: np.ndarray) -> list[EntityIndexGap]:
    """Return the numbers that a chunk, read after `mark`, leaves out and that may still come."""
    if connection.vendor != "postgresql" or seqs[-1] - mark == len(seqs):
        return []  # SQLite's one writer commits in the order of the numbers
    now = _now()
    return _gaps_between([mark, *seqs.tolist()], now.next, now.clock)


def _gaps_between(numbers: Sequence[int], horizon: int, since: float) -> list[EntityIndexGap]:
    """Return what is missing between ascending numbers."""
    return [
        EntityIndexGap(first=before + 1, last=after - 1, horizon=horizon, since=since)
        for before, after in itertools.pairwise(numbers)
        if after > before + 1
    ]


def _fill_gaps() -> int:
    """Index what has come into the gaps and forget those into which nothing can come; return how many decisions came."""
    if connection.vendor != "postgresql" or not EntityIndexGap.objects.exists():
        return 0
    with transaction.atomic():
        list(EntityIndexMark.objects.select_for_update().filter(id=_MARK))  # one process at a time
        gaps, now = list(EntityIndexGap.objects.order_by("first")), _now()  # before the look, which sees what had ended by now
        chunk = _read([(gap.first, gap.last) for gap in gaps], 1.0)
        _insert(list(_segments(chunk)))
        for gap in gaps:
            came = chunk.seqs[(chunk.seqs >= gap.first) & (chunk.seqs <= gap.last)].tolist()
            is_over = gap.horizon <= now.oldest and gap.since + _GAP_SECONDS <= now.clock
            # What came is indexed and not to be found again; what is left may still come.
            left = [] if is_over else _gaps_between([gap.first - 1, *came, gap.last + 1], gap.horizon, gap.since)
            if came or is_over:
                gap.delete()
                EntityIndexGap.objects.bulk_create(left)
    return len(chunk.seqs)


def _now() -> _Now:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text, extract(epoch FROM clock_timestamp()) "
            "FROM (SELECT pg_current_snapshot() AS s) AS of_now"
        )
        oldest, following, clock = cursor.fetchone()
    return _Now(int(oldest), int(following), float(clock))


def _within(gaps: Sequence[EntityIndexGap]) -> Q:
    inside = Q()
    for gap in gaps:
        inside |= Q(seq__gte=gap.first, seq__lte=gap.last)
    return inside


# --- reading -----------------------------------------------------------------------------------------------------------


def find_decisions(conditions: dict[str, Any]) -> QuerySet[Decision]:
    """Return the decisions that meet all conditions (look-ups of Decision), the newest commit included.

    customer_id, card_id and merchant_id go through the index, which is asked at once; anything else is an ordinary look-up.
    """
    entities = {field: value for field, value in conditions.items() if field in FIELDS}
    found = Decision.objects.filter(**conditions)
    return found.filter(seq__in=_as_rows(_candidates(entities))) if entities else found


def _candidates(entities: dict[str, str]) -> np.ndarray:
    """Return the numbers of all decisions that name the entities, and perhaps of a few more of the same hashes."""
    # The mark first, then the gaps, then the segments: what moves into a segment meanwhile is found twice and not missed.
    behind = Q(seq__gt=_mark())
    if connection.vendor == "postgresql":
        behind |= _within(list(EntityIndexGap.objects.all()))
    tail = Decision.objects.filter(behind, **entities).values_list("seq", flat=True)
    indexed = [_indexed(FIELDS[field], entity) for field, entity in entities.items()]
    both = indexed[0]
    for other in indexed[1:]:
        both = np.intersect1d(both, other)
    return np.union1d(both, np.array(tail, np.int64))


def _indexed(kind: int, entity: str) -> np.ndarray:
    segments = EntitySegment.objects.filter(kind=kind, bucket=bucket_of(entity)).values_list("first_seq", "entries")
    wanted = hash_of(entity)
    found = [find_in_segment(bytes(entries), first, wanted) for first, entries in segments]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _as_rows(seqs: np.ndarray) -> RawSQL:
    """Return a subquery that gives the numbers: a parameter each would be too many for a busy merchant."""
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", [seqs.tolist()])
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(seqs.tolist())])


__all__ = ["FIELDS", "catch_up", "find_decisions"]
