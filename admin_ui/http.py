"""What several pages do with a request."""

from __future__ import annotations

from functools import wraps

from django.http import Http404, HttpRequest, HttpResponseBase

from admin_ui.access import View
from scoring.errors import ScoringError


def answer_not_found(view: View) -> View:
    """Turn an unknown alert, decision or release into the page that says so."""

    @wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except ScoringError as error:
            if error.status != 404:
                raise
            raise Http404(str(error)) from None

    return answer


def page_query(request: HttpRequest, cursor: str | None) -> str | None:
    """Return the address query of the next page: the filters as they are, with its cursor; None on the last page."""
    if cursor is None:
        return None
    query = request.GET.copy()
    query["cursor"] = cursor
    return query.urlencode()
