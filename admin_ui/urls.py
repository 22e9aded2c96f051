"""The dashboard's pages. Everything but the log-in goes through `analyst_page`."""

from __future__ import annotations

from django.urls import URLPattern, path

from admin_ui.access import View, analyst_page
from admin_ui.views import alerts, decisions, live, releases, session

app_name = "admin_ui"


def _page(route: str, view: View, name: str) -> URLPattern:
    return path(route, analyst_page(view), name=name)


urlpatterns = [
    path("login/", session.log_in, name="login"),
    path("logout/", session.log_out, name="logout"),
    _page("", live.page, "live"),
    _page("live/figures", live.figures, "live_figures"),
    _page("live/accuracy", live.accuracy_figures, "live_accuracy"),
    _page("live/tables", live.tables, "live_tables"),
    _page("live/ticker", live.ticker, "live_ticker"),
    _page("live/engine.json", live.engine_series, "engine_series"),
    _page("live/accuracy.json", live.accuracy_series, "accuracy_series"),
    _page("alerts/", alerts.queue, "alerts"),
    _page("alerts/<int:alert_id>/", alerts.row, "alert"),
    _page("alerts/<int:alert_id>/claim", alerts.claim, "alert_claim"),
    _page("alerts/<int:alert_id>/release", alerts.release, "alert_release"),
    _page("alerts/<int:alert_id>/close", alerts.close, "alert_close"),
    _page("decisions/", decisions.ledger, "decisions"),
    _page("decisions/<slug:decision_id>/", decisions.detail, "decision"),
    _page("decisions/<slug:decision_id>/explanation", decisions.explanation, "decision_explanation"),
    _page("search/", decisions.search, "search"),
    _page("models/", releases.overview, "models"),
    _page("models/roll-back", releases.roll_back, "roll_back"),
    _page("models/retrain", releases.retrain, "retrain"),
]
