"""/api/v1/ is the public API, everything else is the dashboard and the operations endpoints."""

from django.urls import include, path

urlpatterns = [
    path("api/v1/", include("scoring.urls")),
    path("", include("admin_ui.urls")),
]
