"""Keeping and using the index of decisions by customer, card and merchant."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from scoring.models import Decision, EntityDecision
from scoring.turns import ledger_turn

Kind = EntityDecision.Kind
FIELDS = {"customer_id": Kind.CUSTOMER, "card_id": Kind.CARD, "merchant_id": Kind.MERCHANT}
# Many at once and in entity order: an entry for itself would rewrite a page of the index, three a decision. Not so many that
# sorting them, which takes a core some ten milliseconds for each ten thousand, keeps decisions waiting.
_CHUNK_ROWS = 5_000
# So many chunks a call while decisions are being made: other work of the thread waits meanwhile.
_BUSY_CHUNKS = 10
# A transaction so short that on SQLite, which has one writer, no decision waits for it.
_SLICE_ENTRIES = 500
# The kind of the rows that say how far the index reaches: the mark, with no entity, and the gaps before it.
_PROGRESS = 0
_MARK = ""
_INDEX = EntityDecision._meta.db_table
# A number is taken before its transaction counts as in progress; this is ample for the moment between.
_GAP_SECONDS = 2.0


class _Gap(NamedTuple):
    """Numbers first to last, missing when the mark passed them: never used, or of a commit that was still on its way.

    It stays open until all transactions have ended that were in progress then: those below `horizon`.
    """

    first: int
    last: int
    horizon: int
    since: float

    def as_entity(self) -> str:
        return f"{self.last}:{self.horizon}:{self.since:.3f}"


class _Now(NamedTuple):
    """PostgreSQL's transactions: all below `oldest` have ended, all from `next` on have not begun; its clock, seconds."""

    oldest: int
    next: int
    clock: float


def catch_up(busy_share: float = 1.0) -> int:
    """Index the decisions that are not indexed yet; return how many were indexed.

    Below 1, `busy_share` is the share of the time that it may take from decisions that are being made: then it waits until
    a whole chunk has come, and pauses between its transactions.

    A mark tells where to go on. On PostgreSQL, where several processes commit, a smaller number may be committed after a
    larger one: the numbers that are missing below the mark are remembered as gaps, and looked at again until nobody can
    fill them any more. Mark and gaps lie in the same table, under a kind of their own: the largest seq of the others would
    not move past decisions that name nobody.
    """
    mark, gaps = _progress()
    if busy_share < 1.0 and _newest() - mark < _CHUNK_ROWS:
        return 0
    done = _fill(gaps) if gaps else 0
    for _ in range(_BUSY_CHUNKS) if busy_share < 1.0 else itertools.count():
        # A chunk is counted in rows: numbers may be missing, thousands in a row.
        chunk = list(Decision.objects.filter(seq__gt=mark).order_by("seq").values_list("seq", flat=True)[:_CHUNK_ROWS])
        if not chunk:
            return done
        _index(chunk[0], chunk[-1], _gaps_in(mark, chunk), busy_share)
        done, mark = done + len(chunk), chunk[-1]
        if busy_share < 1.0 and len(chunk) < _CHUNK_ROWS:
            break
    return done


def find_decisions(conditions: dict[str, Any]) -> QuerySet[Decision]:
    """Return the decisions that meet all conditions (look-ups of Decision), the newest commit included.

    customer_id, card_id and merchant_id go through the index; anything else is an ordinary look-up.
    """
    entities = {field: conditions[field] for field in FIELDS if field in conditions}
    found = Decision.objects.filter(**{name: value for name, value in conditions.items() if name not in entities})
    if entities:
        catch_up()
    for field, entity in entities.items():
        found = found.filter(seq__in=EntityDecision.objects.filter(kind=FIELDS[field], entity=entity).values("seq"))
    return found


def _progress() -> tuple[int, list[_Gap]]:
    """Return the mark and the open gaps."""
    mark, gaps = 0, []
    for entity, seq in EntityDecision.objects.filter(kind=_PROGRESS).values_list("entity", "seq"):
        if entity == _MARK:
            mark = max(mark, seq)
        else:
            last, horizon, since = entity.split(":")
            gaps.append(_Gap(seq, int(last), int(horizon), float(since)))
    return mark, gaps


def _gaps_in(mark: int, chunk: Sequence[int]) -> list[_Gap]:
    """Return the numbers that the chunk, read after `mark`, leaves out and that may still come."""
    if connection.vendor != "postgresql" or chunk[-1] - mark == len(chunk):
        return []  # SQLite's one writer commits in the order of the numbers
    now = _now()
    return [
        _Gap(before + 1, after - 1, now.next, now.clock)
        for before, after in itertools.pairwise([mark, *chunk])
        if after > before + 1
    ]


def _fill(gaps: Sequence[_Gap]) -> int:
    """Index what has come into the gaps and forget those into which nothing can come; return how many there were."""
    now = _now()  # before the look: what had ended by now is seen by it
    missing = Q()
    for gap in gaps:
        missing |= Q(seq__gte=gap.first, seq__lte=gap.last)
    found = list(Decision.objects.filter(missing).order_by("seq").values_list("seq", flat=True))
    for start in range(0, len(found), _SLICE_ENTRIES):
        chunk = found[start : start + _SLICE_ENTRIES]
        _insert_entries(f"seq IN ({','.join(['%s'] * len(chunk))})", chunk, 1.0)
    over = [gap for gap in gaps if gap.horizon <= now.oldest and gap.since + _GAP_SECONDS <= now.clock]
    filled = [gap for gap in gaps if gap not in over and _count(gap, found) == gap.last - gap.first + 1]
    for gap in (*over, *filled):
        EntityDecision.objects.filter(kind=_PROGRESS, entity=gap.as_entity(), seq=gap.first).delete()
    return len(found)


def _count(gap: _Gap, found: Sequence[int]) -> int:
    return sum(gap.first <= seq <= gap.last for seq in found)


def _now() -> _Now:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text, extract(epoch FROM clock_timestamp()) "
            "FROM (SELECT pg_current_snapshot() AS s) AS of_now"
        )
        oldest, following, clock = cursor.fetchone()
    return _Now(int(oldest), int(following), float(clock))


def _newest() -> int:
    return Decision.objects.order_by("-seq").values_list("seq", flat=True).first() or 0


def _index(first: int, last: int, gaps: Sequence[_Gap], busy_share: float) -> None:
    """Index the decisions from `first` to `last`, and move the mark there when all of them are."""
    _insert_entries("seq >= %s AND seq <= %s", [first, last], busy_share)
    insert = f"INSERT INTO {_INDEX} (kind, entity, seq) VALUES ({_PROGRESS}, %s, %s) ON CONFLICT DO NOTHING"
    with ledger_turn(), transaction.atomic(), connection.cursor() as cursor:
        for entity, seq in [*((gap.as_entity(), gap.first) for gap in gaps), (_MARK, last)]:
            cursor.execute(insert, [entity, seq])
        cursor.execute(f"DELETE FROM {_INDEX} WHERE kind = {_PROGRESS} AND entity = %s AND seq < %s", [_MARK, last])


def _insert_entries(condition: str, values: Sequence[int], busy_share: float) -> None:
    """Insert the entries of the decisions that meet the condition. Two processes may do the same rows.

    In entity order, so that each page of the index is touched once, and within the database: as Python's values they would
    cost three times as much. On SQLite, which has one writer, in transactions so short that no decision waits for one.
    """
    insert = _insert_at_once if connection.vendor == "postgresql" else _insert_in_slices
    for field, kind in FIELDS.items():
        entries = (
            f"SELECT {field} AS entity, seq FROM {Decision._meta.db_table} WHERE {condition} AND {field} IS NOT NULL "
            f"ORDER BY {field}, seq"
        )
        insert(int(kind), entries, values, busy_share)


def _insert_at_once(kind: int, entries: str, values: Sequence[int], busy_share: float) -> None:
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {_INDEX} (kind, entity, seq) SELECT {kind}, entity, seq FROM ({entries}) AS sorted "
            "ON CONFLICT DO NOTHING",
            values,
        )
    _rest(began, busy_share)


def _insert_in_slices(kind: int, entries: str, values: Sequence[int], busy_share: float) -> None:
    with connection.cursor() as cursor:
        # Only this session sees it, and filling it keeps nobody from writing.
        began = time.monotonic()
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS entity_entries (entity TEXT, seq INTEGER)")
        cursor.execute("DELETE FROM entity_entries")
        cursor.execute(f"INSERT INTO entity_entries (entity, seq) {entries}", values)
        cursor.execute("SELECT MAX(rowid) FROM entity_entries")
        (last,) = cursor.fetchone()
    _rest(began, busy_share)
    insert = (
        f"INSERT OR IGNORE INTO {_INDEX} (kind, entity, seq) SELECT {kind}, entity, seq FROM entity_entries "
        "WHERE rowid > %s AND rowid <= %s ORDER BY rowid"
    )
    for start in range(0, last or 0, _SLICE_ENTRIES):
        began = time.monotonic()
        with ledger_turn(), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(insert, [start, start + _SLICE_ENTRIES])
        _rest(began, busy_share)


def _rest(began: float, busy_share: float) -> None:
    """Pause for as long as leaves the work since `began` that share of the time."""
    if busy_share < 1.0:
        time.sleep((time.monotonic() - began) * (1.0 / busy_share - 1.0))
