"""The public API, below /api/v1/."""

from django.urls import URLPattern

app_name = "scoring"
urlpatterns: list[URLPattern] = []
