"""Keeping and using the index of decisions by customer, card and merchant."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.db.models import Max, QuerySet

from scoring.models import Decision, EntityDecision

Kind = EntityDecision.Kind
FIELDS = {"customer_id": Kind.CUSTOMER, "card_id": Kind.CARD, "merchant_id": Kind.MERCHANT}
_CHUNK_ROWS = 50_000
_MARK = 0  # the kind of the row whose seq says how far the index reaches


def catch_up() -> int:
    """Index the decisions that are not indexed yet; return how many there were.

    Decisions are committed in the order of their seq, so that a mark tells where to go on. It lies in the same table,
    under a kind and an entity of its own: the largest seq of the others would not move past decisions that name nobody.
    """
    done = 0
    last = EntityDecision.objects.filter(kind=_MARK).aggregate(last=Max("seq"))["last"] or 0
    while True:
        # A chunk is counted in rows: numbers may be missing, thousands in a row.
        chunk = list(Decision.objects.filter(seq__gt=last).order_by("seq").values_list("seq", flat=True)[:_CHUNK_ROWS])
        if not chunk:
            return done
        _index(chunk[0], chunk[-1])
        done, last = done + len(chunk), chunk[-1]


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


def _index(first: int, last: int) -> None:
    target, source = EntityDecision._meta.db_table, Decision._meta.db_table
    with transaction.atomic(), connection.cursor() as cursor:
        for field, kind in FIELDS.items():
            # In entity order, so that each page of the index is touched once. Two processes may do the same rows.
            cursor.execute(
                f"INSERT INTO {target} (kind, entity, seq) SELECT {int(kind)}, {field}, seq FROM {source} "
                f"WHERE seq >= %s AND seq <= %s AND {field} IS NOT NULL ORDER BY {field}, seq ON CONFLICT DO NOTHING",
                [first, last],
            )
        cursor.execute(f"DELETE FROM {target} WHERE kind = {_MARK} AND seq < %s", [last])
        cursor.execute(f"INSERT INTO {target} (kind, entity, seq) VALUES ({_MARK}, '', %s) ON CONFLICT DO NOTHING", [last])
