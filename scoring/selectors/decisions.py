"""Decisions of the ledger: lists, search, and all that is known about one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from scoring.entity_index import find_decisions
from scoring.errors import AnswerUnreadable, DecisionNotFound
from scoring.models import Alert, Decision, Label, Outcome
from scoring.selectors.answers import Answer, answer_of
from scoring.selectors.feature_values import FeatureValues, feature_values
from scoring.selectors.pages import Page, read_page

OUTCOMES = tuple(Outcome)
PAGE_SIZE = 50
RECENT = 20
LATEST = 26
ENTITY_FIELDS = (
    "customer_id", "account_id", "card_id", "merchant_id", "terminal_id", "device_id", "counterparty_id"
)  # fmt: skip
# Each of these has an index with `seq`.
SEARCHABLE_ENTITIES = ("customer_id", "card_id", "merchant_id")
_LARGE = ("features", "transaction", "evidence", "response")


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """What the list shows; None leaves a condition out. Times are of the transaction (`occurred_at`)."""

    outcome: int | None = None
    min_score: int | None = None
    customer_id: str | None = None
    card_id: str | None = None
    merchant_id: str | None = None
    degraded: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DecisionDetail:
    """Everything about one decision. `recent` are its customer's (else card's) other decisions.

    `damage` says why there is no answer, where what is stored of it is damaged.
    """

    decision: Decision
    answer: Answer
    transaction: dict[str, Any]
    features: FeatureValues
    labels: tuple[Label, ...]
    alert: Alert | None
    recent_of: str | None
    recent: tuple[Decision, ...]
    damage: str = ""

    @property
    def hits(self) -> int:
        """The number of rules that hit."""
        return sum(rule.outcome == "hit" for rule in self.answer.rules)


def decision_page(wanted: DecisionFilter, cursor: str | None = None, size: int = PAGE_SIZE) -> Page[Decision]:
    """Return one page of decisions, the latest arrived first.

    Raises:
        CursorInvalid: see `read_page`.
    """
    return read_page(_matching(wanted).defer(*_LARGE), ("seq",), cursor, size)


def _matching(wanted: DecisionFilter) -> QuerySet[Decision]:
    conditions = {
        "outcome": wanted.outcome,
        "score__gte": wanted.min_score,
        "customer_id": wanted.customer_id,
        "card_id": wanted.card_id,
        "merchant_id": wanted.merchant_id,
        "degraded": wanted.degraded,
        "occurred_at__gte": wanted.since,
        "occurred_at__lt": wanted.until,
    }
    return find_decisions({name: value for name, value in conditions.items() if value is not None})


def latest_decisions(size: int = LATEST) -> tuple[Decision, ...]:
    """Return the decisions that arrived last, the newest first."""
    return tuple(Decision.objects.defer(*_LARGE).order_by("-seq")[:size])


def find_decision(text: str) -> str | None:
    """Return the id of the decision whose decision or transaction id is exactly `text`."""
    found = Decision.objects.filter(Q(decision_id=text) | Q(transaction_id=text))
    return found.values_list("decision_id", flat=True).first()


def decision_detail(decision_id: str) -> DecisionDetail:
    """Return one decision with its answer, features, labels, alert and its customer's recent decisions.

    Raises:
        DecisionNotFound: there is none of that id.
    """
    decision = Decision.objects.filter(decision_id=decision_id).first()
    if decision is None:
        raise DecisionNotFound("there is no decision of that id")
    damage = ""
    try:
        answer, transaction = answer_of(decision)
    except AnswerUnreadable as error:
        answer, transaction, damage = Answer(), json.loads(decision.transaction), str(error)
    entity, recent = _recent_of_same_customer(decision)
    return DecisionDetail(
        decision=decision,
        answer=answer,
        transaction=transaction,
        features=feature_values(decision),
        labels=tuple(Label.objects.filter(decision=decision).order_by("reported_at", "id")),
        alert=Alert.objects.filter(decision=decision).select_related("assignee").first(),
        recent_of=entity,
        recent=recent,
        damage=damage,
    )


def _recent_of_same_customer(decision: Decision) -> tuple[str | None, tuple[Decision, ...]]:
    """Look by the first of the indexed entities that the transaction names."""
    for field in ("customer_id", "card_id"):
        if value := getattr(decision, field):
            others = find_decisions({field: value}).exclude(seq=decision.seq)
            return field, tuple(others.defer(*_LARGE).order_by("-seq")[:RECENT])
    return None, ()
