"""DRF's hook for API keys."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication

from scoring.api.keys import bearer_token, key_cache
from scoring.errors import AuthenticationRequired


class ApiKeyAuthentication(BaseAuthentication):
    """'Authorization: Bearer <key>'; without the header the request goes on unauthenticated, and permissions refuse it."""

    def authenticate(self, request):
        header = request.META.get("HTTP_AUTHORIZATION")
        if not header:
            return None
        client = getattr(request._request, "verified_client", None)  # found a moment ago, by a LeanView
        if client is None and (token := bearer_token(header)):
            client = key_cache.client(token)
        if client is None:
            raise AuthenticationRequired
        return client, None

    def authenticate_header(self, request) -> str:
        return 'Bearer realm="risk scoring"'
