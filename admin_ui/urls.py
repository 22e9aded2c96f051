"""The dashboard's pages."""

from django.urls import URLPattern

app_name = "admin_ui"
urlpatterns: list[URLPattern] = []
