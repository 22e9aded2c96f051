"""The OpenAPI document and its two readers; a refusal is a problem here as anywhere else."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView
from rest_framework.exceptions import MethodNotAllowed

from scoring.api.problems import problem_from_exception, problem_response, request_id_of

# Both readers set styles and start themselves inline; ReDoc searches in a worker, and would fetch its logo from a CDN.
_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


class _Document:
    """The stock view answers errors in the form of its own content, such as YAML or HTML."""

    http_method_names = ["get", "head"]

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response["X-Request-ID"] = request_id_of(getattr(request, "_request", request))
        response["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
        return response

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

    template_name = "scoring/redoc.html"
