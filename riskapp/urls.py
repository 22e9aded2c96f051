"""/api/v1/ is the public API, /livez, /readyz and /metrics are for operators, everything else is the dashboard."""

from django.urls import include, path

from scoring.api.views.operations import MetricsView, livez, readyz

urlpatterns = [
    path("api/v1/", include("scoring.urls")),
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("", include("admin_ui.urls")),
]
handler400 = "riskapp.error_pages.bad_request"
handler403 = "riskapp.error_pages.permission_denied"
handler404 = "riskapp.error_pages.page_not_found"
handler500 = "riskapp.error_pages.server_error"
