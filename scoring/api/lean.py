"""The views' two bases: the stock DRF one, and a lean one for the decision path.

What a stock APIView does for each request and the lean one does once: building authenticators, permissions, throttles and
the view itself; and it neither negotiates the content type, of which there is one, nor leaves Django a template response
to render in another thread. Its handlers are coroutines that give a Reply; the hooks and the errors are DRF's.
"""

from __future__ import annotations

import inspect

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from scoring.api.keys import Client, bearer_token, key_cache
from scoring.api.negotiation import AnswersJson
from scoring.api.problems import request_id_of
from scoring.api.replies import Reply, Sent, error_reply, with_headers
from scoring.api.throttling import rate_headers
from scoring.database_connection import drop_broken_connection
from scoring.errors import AuthenticationRequired
from scoring.protection.guards import guards


class ApiView(APIView):
    """A stock DRF view whose answers are JSON and carry the request id."""

    http_method_names = ["get", "head", "post"]
    content_negotiation_class = AnswersJson

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response["X-Request-ID"] = request_id_of(getattr(request, "_request", request))
        return response


class LeanView(ApiView):
    """Methods that are `async def method(self, request: Request) -> Reply` go the lean way, others the stock one."""

    # Django would refuse a class that mixes both kinds; which one runs is decided below, a request at a time.
    view_is_async = False

    @classmethod
    def as_view(cls, **initkwargs):
        stock = sync_to_async(super().as_view(**initkwargs))
        lean = {name.upper() for name in cls.http_method_names if inspect.iscoroutinefunction(getattr(cls, name, None))}
        one = cls(**initkwargs)  # it holds nothing of a request
        one._authenticators, one._permissions = one.get_authenticators(), one.get_permissions()
        one._throttles = one.get_throttles()

        async def view(http_request: HttpRequest, *args, **kwargs) -> HttpResponse:
            if http_request.method in lean:
                return await one.answer(http_request)
            return await stock(http_request, *args, **kwargs)

        view.lean = one
        view.cls = cls
        view.initkwargs = initkwargs
        view.csrf_exempt = True  # keys travel in a header, which no foreign page can set
        return view

    async def answer(self, http_request: HttpRequest) -> HttpResponse:
        """Return `reply_to` as Django sends it."""
        reply = await self.reply_to(http_request)
        response = HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))
        response["X-Request-ID"] = request_id_of(http_request)
        return response

    async def reply_to(self, http_request: HttpRequest) -> Reply:
        """Run the hooks and the handler; whatever is raised becomes a problem."""
        try:
            if getattr(http_request, "verified_client", None) is None:
                # A key that is not remembered is looked up away from the event loop, before DRF's authenticator asks.
                http_request.verified_client = await client_of(http_request.META.get("HTTP_AUTHORIZATION"))
            request = self.let_in(http_request)
            with guards().concurrency.holding():
                reply = await getattr(self, http_request.method.lower())(request)
        except Exception as error:
            reply = error_reply(error, request_id_of(http_request))
        counted = rate_headers(http_request)
        return with_headers(reply, counted) if counted else reply

    def let_in(self, http_request: HttpRequest) -> Request:
        """Ask DRF's hooks; whoever calls has been looked up.

        Raises:
            ScoringError, APIException: the caller may not, and why.
        """
        request = Request(http_request, authenticators=self._authenticators)
        self._admit(request)
        return request

    def _admit(self, request: Request) -> None:
        request.user  # noqa: B018  DRF authenticates when it is first asked for
        for permission in self._permissions:
            if not permission.has_permission(request, self):
                self.permission_denied(request)
        for throttle in self._throttles:
            if not throttle.allow_request(request, self):
                self.throttled(request, throttle.wait())

    def sent(self, request: Request) -> Sent:
        """Return what the caller sent."""
        http_request = request._request
        announced = int(http_request.META.get("CONTENT_LENGTH") or 0)
        body = getattr(http_request, "_body", None)
        if body is None:
            # One more byte than any limit tells that it is too large.
            limit = settings.MAX_BATCH_BODY_BYTES
            body = b"" if announced > limit else http_request.read(limit + 1)
        deadline_ms = http_request.META.get("HTTP_X_DEADLINE_MS", "")
        request_id, waited_us = request_id_of(http_request), getattr(http_request, "waited_us", 0.0)
        return Sent(body, http_request.content_type, announced, request_id, deadline_ms, request.user, waited_us)


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
