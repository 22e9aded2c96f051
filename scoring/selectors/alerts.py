"""The analyst's queue."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet

from scoring.errors import AlertNotFound
from scoring.models import Alert, Outcome
from scoring.selectors.pages import Page, read_page

STATES = tuple(Alert.State.values)
DISPOSITIONS = tuple(Alert.Disposition.choices)
OUTCOMES = tuple(o for o in Outcome if o >= Outcome.REVIEW)
PAGE_SIZE = 50
# Reading a longer number is no help to anybody; counting it would cost more with every alert.
COUNT_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """What the queue shows; None leaves a condition out. `newest_first` instead of highest score first."""

    state: str | None = Alert.State.OPEN.value
    outcome: int | None = None
    min_score: int | None = None
    assignee_id: int | None = None
    newest_first: bool = False


def alert_page(wanted: AlertFilter, cursor: str | None = None, size: int = PAGE_SIZE) -> Page[Alert]:
    """Return one page of the queue, each alert with its decision and assignee.

    Raises:
        CursorInvalid: see `read_page`.
    """
    keys = ("id",) if wanted.newest_first else ("score", "id")
    return read_page(_with_decision(_matching(wanted)), keys, cursor, size)


def _matching(wanted: AlertFilter) -> QuerySet[Alert]:
    query = Alert.objects.all()
    if wanted.state is not None:
        query = query.filter(state=wanted.state)
    if wanted.outcome is not None:
        query = query.filter(outcome=wanted.outcome)
    if wanted.min_score is not None:
        query = query.filter(score__gte=wanted.min_score)
    if wanted.assignee_id is not None:
        query = query.filter(assignee_id=wanted.assignee_id)
    return query


def _with_decision(query: QuerySet[Alert]) -> QuerySet[Alert]:
    # The features and the body are large and the queue shows neither.
    return query.select_related("decision", "assignee").defer(
        "decision__features", "decision__transaction", "decision__response"
    )


def alert_by_id(alert_id: int) -> Alert:
    """Return one alert as the queue shows it.

    Raises:
        AlertNotFound: there is none of that id.
    """
    alert = _with_decision(Alert.objects.filter(pk=alert_id)).first()
    if alert is None:
        raise AlertNotFound(f"there is no alert {alert_id}")
    return alert


def alert_counts() -> dict[str, int]:
    """Return the number of alerts per state, each counted up to COUNT_LIMIT."""
    return {state: Alert.objects.filter(state=state).values("id")[:COUNT_LIMIT].count() for state in STATES}
