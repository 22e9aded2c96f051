"""The alert queue, worked in place: each row claims, releases and closes itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST, require_safe

from admin_ui.access import is_htmx
from admin_ui.forms import AlertFilterForm, DispositionForm
from admin_ui.http import answer_not_found, page_query
from scoring.errors import AlertNotFound, ScoringError
from scoring.selectors.alerts import COUNT_LIMIT, alert_by_id, alert_counts, alert_page
from scoring.selectors.outbox import outbox_lag_seconds
from scoring.selectors.pages import CursorInvalid, Page
from scoring.services.review_alert import claim_alert, close_alert, release_alert

ROW = "admin_ui/alerts/row.html"
# The worker drains the outbox every few seconds; an effect that has waited so long means that none runs, or too few do.
_LATE_SECONDS = 60


@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    """One page of the queue."""
    form = AlertFilterForm(request.GET)
    page: Page[Any] = Page((), None)
    if form.is_valid():
        try:
            page = alert_page(form.wanted(request.user.pk), request.GET.get("cursor"))
        except CursorInvalid as error:
            form.add_error(None, str(error))
    behind = outbox_lag_seconds(datetime.now(UTC))
    context = {
        "page": "alerts",
        "minutes_behind": round(behind / 60) if behind >= _LATE_SECONDS else None,
        "form": form,
        "alerts": page.rows,
        "next_query": page_query(request, page.next_cursor),
        "next_url": request.get_full_path(),
        "counts": alert_counts(),
        "count_limit": COUNT_LIMIT,
    }
    return render(request, "admin_ui/alerts.html", context)


@require_GET
@answer_not_found
def row(request: HttpRequest, alert_id: int) -> HttpResponse:
    """Fragment: one row as it is now (the way out of the close form)."""
    return _row(request, alert_id, has_focus=True)


@require_POST
@answer_not_found
def claim(request: HttpRequest, alert_id: int) -> HttpResponse:
    return _act(request, alert_id, lambda: claim_alert(alert_id, request.user))


@require_POST
@answer_not_found
def release(request: HttpRequest, alert_id: int) -> HttpResponse:
    return _act(request, alert_id, lambda: release_alert(alert_id, request.user))


@answer_not_found
def close(request: HttpRequest, alert_id: int) -> HttpResponse:
    """GET: the row with the disposition form open. POST: close the alert."""
    if request.method != "POST":
        if is_htmx(request):
            return _row(request, alert_id, disposition_form=DispositionForm())
        decision_id = alert_by_id(alert_id).decision.decision_id
        return HttpResponseRedirect(reverse("admin_ui:decision", args=[decision_id]) + "#alert")
    form = DispositionForm(request.POST)
    if not form.is_valid():
        if is_htmx(request):
            return _row(request, alert_id, disposition_form=form, status=422)
        return _back(request, alert_id, error="Choose what you found before closing the alert.")
    data = form.cleaned_data
    return _act(
        request,
        alert_id,
        lambda: close_alert(alert_id, request.user, data["disposition"], data["note"]),
    )


def _act(request: HttpRequest, alert_id: int, act: Callable[[], object]) -> HttpResponse:
    """Do it, and show the alert as it is then; what is refused is told beside it."""
    error, status = "", 200
    try:
        act()
    except AlertNotFound:
        raise
    except ScoringError as refused:
        error, status = f"{str(refused).capitalize()}.", refused.status
    if is_htmx(request):
        return _row(request, alert_id, error=error, status=status, has_focus=True)
    return _back(request, alert_id, error)


def _row(request: HttpRequest, alert_id: int, *, status: int = 200, **context: Any) -> HttpResponse:
    context["alert"] = alert_by_id(alert_id)
    return render(request, ROW, context, status=status)


def _back(request: HttpRequest, alert_id: int, error: str) -> HttpResponse:
    """Return to where the form was; without one to the alert's decision."""
    if error:
        messages.error(request, error)
    target = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure()):
        return redirect(target)
    return redirect("admin_ui:decision", alert_by_id(alert_id).decision.decision_id)
