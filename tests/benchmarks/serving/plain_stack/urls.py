"""Addresses of the plain stack."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.benchmarks.serving.plain_stack.views import DecisionView


def ready(request: HttpRequest) -> HttpResponse:
    """Answer once the application is imported, the model included."""
    return HttpResponse("ready")


urlpatterns = [path("readyz", ready), path("decisions", DecisionView.as_view())]
