"""Who may see the dashboard, and what its pages may load."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.cache import patch_cache_control

View = Callable[..., HttpResponseBase]

# Nothing from another host, nothing inline: a reason text that smuggles in a script cannot run it.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
ROLL_BACK_PERMISSION = "scoring.change_programrelease"


def is_htmx(request: HttpRequest) -> bool:
    """Return whether htmx asks, and so wants a fragment and not a page."""
    return request.headers.get("HX-Request") == "true"


def guarded(view: View) -> View:
    """Give the answer the content security policy, and keep it out of every cache."""

    @wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        patch_cache_control(response, private=True, no_store=True)
        return response

    return answer


def analyst_page(view: View) -> View:
    """Let any active, logged-in user in; send everybody else to the log-in page.

    A polling fragment cannot show a log-in page in its place, so htmx is told to go there with the whole window.
    """

    @guarded
    @wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.user.is_authenticated and request.user.is_active:
            return view(request, *args, **kwargs)
        if is_htmx(request) or request.headers.get("Accept") == "application/json":
            return HttpResponse(status=401, headers={"HX-Redirect": resolve_url("admin_ui:login")})
        return redirect_to_login(request.get_full_path())

    return answer
