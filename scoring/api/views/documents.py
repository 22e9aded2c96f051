"""The OpenAPI document and its two readers; a refusal is a problem here as anywhere else."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView
from rest_framework.exceptions import MethodNotAllowed

from scoring.api.problems import problem_from_exception, problem_response, request_id_of


class _Document:
    """The stock view answers errors in the form of its own content, such as YAML or HTML."""

    http_method_names = ["get", "head"]

    def handle_exception(self, error: Exception) -> HttpResponse:
        response = problem_response(problem_from_exception(error, request_id_of(self.request._request)))
        if isinstance(error, MethodNotAllowed):
            response["Allow"] = ", ".join(self.allowed_methods)
        return response


class SchemaView(_Document, SpectacularAPIView):
    """GET the OpenAPI 3.1 document."""


class SwaggerView(_Document, SpectacularSwaggerView):
    """GET Swagger UI."""


class RedocView(_Document, SpectacularRedocView):
    """GET ReDoc."""
