"""Decisions old enough for their truth to be known, with that truth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from django.db.models import Field, Func
from numpy.typing import NDArray

from scoring.models import BACKFILL, Decision, Label
from scoring.selectors.clock import event_clock, matured_until
from scoring.truth import FRAUD, UNSETTLED, truth_of

# Bounds the work of one look at the page.
MAX_DECISIONS = 50_000

_COLUMNS = ("seq", "occurred_s", "score", "probability", "outcome", "amount_minor", "currency", "mode")
# A history decided before there was a model goes to review as a whole: it says nothing about what decides now.
_WITHOUT_MODEL = "rules_only"


class _UnixSeconds(Func):
    """A time as whole seconds since 1970, worked out by the database.

    Fifty thousand datetime objects cost more than all the rest of the page, and hold up the threads that decide.
    """

    function = "UNIX_SECONDS"
    # A plain field has no converter, which would be a call for each value.
    output_field = Field()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        # Per cent signs are halved twice: by this template, and where the parameters are put in.
        template = "CAST(strftime('%%%%s', %(expressions)s) AS INTEGER)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        template = "FLOOR(EXTRACT(EPOCH FROM %(expressions)s))::bigint"
        return self.as_sql(compiler, connection, template=template, **context)


@dataclass(frozen=True, slots=True)
class MaturedDecisions:
    """The newest matured decisions with a settled truth, newest first; columns [N], `occurred_at` in Unix seconds.

    `rank` orders them by suspicion: by score, and by probability where the scores are equal. `unsettled` counts those
    left out because their newest label is a dispute, `without_model` those that were decided by rules alone.
    `is_truncated`: older matured decisions exist beyond the bound.
    """

    clock: datetime
    since: datetime
    until: datetime
    is_truncated: bool
    unsettled: int
    without_model: int
    occurred_at: NDArray[np.float64]
    rank: NDArray[np.float64]
    outcome: NDArray[np.int64]
    amount_minor: NDArray[np.int64]
    currency: NDArray[np.str_]
    is_fraud: NDArray[np.bool_]


def matured_decisions(limit: int = MAX_DECISIONS) -> MaturedDecisions | None:
    """Read the newest `limit` matured decisions; None where there is none. Backfilled history was never decided on.

    The truth of a decision is what `scoring.truth` makes of its label with the latest `reported_at`.
    """
    clock = event_clock()
    if clock is None:
        return None
    until = matured_until(clock)
    rows = list(
        Decision.objects.filter(occurred_at__lte=until)
        .exclude(mode=BACKFILL)
        .order_by("-occurred_at", "-seq")
        .annotate(occurred_s=_UnixSeconds("occurred_at"))
        .values_list(*_COLUMNS)[: limit + 1]
    )
    is_truncated = len(rows) > limit
    scored = [row for row in rows[:limit] if row[7] != _WITHOUT_MODEL]
    if not scored:
        return None
    since = datetime.fromtimestamp(scored[-1][1], UTC)
    verdicts = _latest_labels(since, until)
    truths = [truth_of(verdicts.get(row[0]), row[4], row[7]) for row in scored]
    settled = [row for row, truth in zip(scored, truths, strict=True) if truth != UNSETTLED]
    return MaturedDecisions(
        clock=clock,
        since=since,
        until=until,
        is_truncated=is_truncated,
        unsettled=len(scored) - len(settled),
        without_model=len(rows[:limit]) - len(scored),
        **_columns(settled, [truth for truth in truths if truth != UNSETTLED]),
    )


def _latest_labels(since: datetime, until: datetime) -> dict[int, str]:
    found = Label.objects.filter(decision__occurred_at__gte=since, decision__occurred_at__lte=until).order_by("reported_at", "id")
    # Later rows overwrite earlier ones.
    return dict(found.values_list("decision_id", "label"))


def _columns(settled: list[tuple], truths: list[int]) -> dict[str, NDArray[Any]]:
    probability = np.array([row[3] if row[3] is not None else 0.0 for row in settled], np.float64)
    score = np.array([row[2] for row in settled], np.float64)
    return {
        "occurred_at": np.array([row[1] for row in settled], np.float64),
        # A probability is at most 1 and a score step is 1: half of it orders inside a step only.
        "rank": score + 0.5 * probability,
        "outcome": np.array([row[4] for row in settled], np.int64),
        "amount_minor": np.array([row[5] for row in settled], np.int64),
        "currency": np.array([row[6] for row in settled], np.str_),
        "is_fraud": np.array(truths) == FRAUD,
    }
