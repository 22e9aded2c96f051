"""The views' two bases: the stock DRF one, and a lean one for the decision path.

What a stock APIView does for each request and the lean one does once: building parsers, authenticators, permissions
and the renderer, and negotiating the content type, of which there is one. Its answer is rendered here, so that Django
has no template response to finish. Its handlers are coroutines; the hooks and the errors are the same.
"""

from __future__ import annotations

import inspect

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from rest_framework.views import APIView

from scoring.api.keys import Client, bearer_token, key_cache
from scoring.api.negotiation import AnswersJson
from scoring.api.permissions import HasScope
from scoring.api.problems import problem_from_exception, problem_response, request_id_of
from scoring.database_connection import drop_broken_connection
from scoring.errors import AuthenticationRequired

_permission = HasScope()


class ApiView(APIView):
    """A stock DRF view whose answers are JSON and carry the request id."""

    http_method_names = ["get", "head", "post"]
    content_negotiation_class = AnswersJson

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response["X-Request-ID"] = request_id_of(getattr(request, "_request", request))
        return response


class LeanView(ApiView):
    """Methods that are `async def method(self, request: HttpRequest) -> HttpResponse` go the lean way, others the stock one."""

    # Django would refuse a class that mixes both kinds; which one runs is decided below, a request at a time.
    view_is_async = False

    @classmethod
    def as_view(cls, **initkwargs):
        stock = sync_to_async(super().as_view(**initkwargs))
        lean = {name.upper() for name in cls.http_method_names if inspect.iscoroutinefunction(getattr(cls, name, None))}

        async def view(http_request: HttpRequest, *args, **kwargs) -> HttpResponse:
            if http_request.method in lean:
                return await cls(**initkwargs).answer(http_request)
            return await stock(http_request, *args, **kwargs)

        view.cls = cls
        view.initkwargs = initkwargs
        view.csrf_exempt = True  # keys travel in a header, which no foreign page can set
        return view

    async def answer(self, http_request: HttpRequest) -> HttpResponse:
        """Run the hooks and the handler; whatever is raised becomes a problem."""
        request_id = request_id_of(http_request)
        try:
            await self._admit(http_request)
            response = await getattr(self, http_request.method.lower())(http_request)
        except Exception as error:
            return problem_response(problem_from_exception(error, request_id))
        response["X-Request-ID"] = request_id
        return response

    async def _admit(self, http_request: HttpRequest) -> None:
        # The hooks read nothing that Django's own request does not have; wrapping it in DRF's costs more than they do.
        http_request.user = await client_of(http_request.META.get("HTTP_AUTHORIZATION"))
        _permission.has_permission(http_request, self)


async def client_of(header: str | None) -> Client | None:
    """Return whom the header belongs to, as ApiKeyAuthentication does, with the database away from the event loop."""
    if not header:
        return None
    client = None
    if token := bearer_token(header):
        known, client = key_cache.remembered(token)
        if not known:
            client = await sync_to_async(_look_up)(token)
    if client is None:
        raise AuthenticationRequired
    return client


def _look_up(token: str) -> Client | None:
    # Nothing else tidies up this thread's connection: Django's signals do not fire on the lean path.
    drop_broken_connection()
    return key_cache.client(token)
