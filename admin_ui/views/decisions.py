"""The ledger: list, search, and one decision in full."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from admin_ui.access import is_htmx
from admin_ui.forms import DecisionFilterForm, DispositionForm
from admin_ui.http import answer_not_found, page_query
from scoring.errors import DecisionNotFound, ScoringError
from scoring.selectors.decisions import (
    ENTITY_FIELDS,
    SEARCHABLE_ENTITIES,
    decision_detail,
    decision_page,
    find_decision,
)
from scoring.selectors.explanation import DecisionExplanation, explain_decision
from scoring.selectors.pages import CursorInvalid, Page

# In the order in which an analyst reads a payment; what else was sent follows.
_TRANSACTION_FIELDS = (
    "transaction_id", "type", "channel", *ENTITY_FIELDS, "mcc", "country",
    "home_country", "card_present", "is_recurring", "ip", "latitude", "longitude",
)  # fmt: skip
_SHOWN_APART = {"amount_minor", "currency", "occurred_at"}
# Read first; the others open on demand.
_OPEN_FEATURE_GROUPS = ("transaction", "card")
# How many features of an explanation are shown at once; the others open on demand.
_FIRST_CONTRIBUTIONS = 12


@require_safe
def ledger(request: HttpRequest) -> HttpResponse:
    """One page of decisions."""
    return _list(request)


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Go to the decision of exactly that transaction or decision id."""
    text = request.GET.get("q", "").strip()
    # NUL is refused by PostgreSQL, and no id holds one.
    found = find_decision(text) if text and "\x00" not in text else None
    if found:
        return redirect("admin_ui:decision", found)
    return _list(request, search_text=text, is_not_found=bool(text))


def _list(request: HttpRequest, **context: Any) -> HttpResponse:
    form = DecisionFilterForm(request.GET)
    page: Page[Any] = Page((), None)
    if form.is_valid():
        try:
            page = decision_page(form.wanted(), request.GET.get("cursor"))
        except CursorInvalid as error:
            form.add_error(None, str(error))
    context |= {
        "page": "decisions",
        "form": form,
        "decisions": page.rows,
        "next_query": page_query(request, page.next_cursor),
    }
    return render(request, "admin_ui/decisions.html", context)


@require_safe
@answer_not_found
def detail(request: HttpRequest, decision_id: str) -> HttpResponse:
    """Everything about one decision."""
    return render(request, "admin_ui/decision.html", _detail(decision_id))


def _detail(decision_id: str) -> dict[str, Any]:
    found = decision_detail(decision_id)
    return {
        "page": "decisions",
        "found": found,
        "decision": found.decision,
        "alert": found.alert,
        "fields": _fields(found.transaction),
        "heaviest": max((abs(r.weight) for r in found.answer.reasons if r.weight), default=None),
        "disposition_form": DispositionForm(),
        "open_groups": _OPEN_FEATURE_GROUPS,
    }


@require_safe
@answer_not_found
def explanation(request: HttpRequest, decision_id: str) -> HttpResponse:
    """The panel with the exact explanation: for htmx by itself, else in its page. What stands against it is told there."""
    try:
        context, status = _explained(explain_decision(decision_id)), 200
    except DecisionNotFound:
        raise
    except ScoringError as refused:
        context, status = {"explanation_refused": f"{str(refused)[:1].upper()}{str(refused)[1:]}."}, refused.status
    if is_htmx(request):
        return render(request, "admin_ui/decisions/explanation.html", context, status=status)
    return render(request, "admin_ui/decision.html", _detail(decision_id) | context, status=status)


def _explained(found: DecisionExplanation) -> dict[str, Any]:
    tested = [feature for feature in found.features if feature.exact or feature.path]
    return {
        "explanation": found,
        "explained_parts": (tested[:_FIRST_CONTRIBUTIONS], tested[_FIRST_CONTRIBUTIONS:]),
        "untested": len(found.features) - len(tested),
        "largest": max((max(abs(feature.exact), abs(feature.path)) for feature in tested), default=None),
    }


def _fields(transaction: dict[str, Any]) -> list[tuple[str, Any, str | None]]:
    """Return the fields that were sent, known ones first, each with the query of the list that it can filter."""
    known = [n for n in _TRANSACTION_FIELDS if transaction.get(n) is not None]
    other = sorted(set(transaction) - set(_TRANSACTION_FIELDS) - _SHOWN_APART)
    return [
        (n, transaction[n], urlencode({n: transaction[n]}) if n in SEARCHABLE_ENTITIES else None)
        for n in (*known, *other)
        if transaction[n] is not None
    ]
