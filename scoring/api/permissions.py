"""Who may call what: each view names the scope that it needs."""

from __future__ import annotations

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission

from scoring.api.keys import Client
from scoring.errors import AuthenticationRequired, ScopeMissing


class HasScope(BasePermission):
    """The caller's key has the scope that the view's `required_scopes` names for the method."""

    def has_permission(self, request, view) -> bool:
        client = request.user
        if not isinstance(client, Client):
            raise AuthenticationRequired
        scope = view.required_scopes.get("GET" if request.method == "HEAD" else request.method)
        if scope is None:
            raise MethodNotAllowed(request.method)
        if scope not in client.scopes:
            raise ScopeMissing(scope)
        return True


class KeyOrSession(BasePermission):
    """Any valid key, or a person who is logged in to the dashboard."""

    def has_permission(self, request, view) -> bool:
        if not getattr(request.user, "is_authenticated", False):
            raise AuthenticationRequired
        return True
