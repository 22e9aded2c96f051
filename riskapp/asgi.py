"""ASGI entry point: the decision path by a short way, everything else through Django.

Django's own handler costs several times what a decision does: a thread hop for each signal receiver, a task that
listens for a disconnect, the middlewares. The two addresses below need none of it. With FAST_LANE they are answered by
`scoring.api.fast_lane`, without it by the DRF views, called here without Django's handler; both give the same bytes. The
Host header plays no part there: callers are known by their keys, and nothing in an answer is made from it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from io import BytesIO

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "riskapp.settings")

from django.core.asgi import get_asgi_application  # noqa: E402

_django = get_asgi_application()

from asgiref.sync import sync_to_async  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.handlers.asgi import ASGIRequest  # noqa: E402
from django.db import DatabaseError  # noqa: E402

from riskapp.body_limit import send_response, within_limit  # noqa: E402
from scoring.api import fast_lane  # noqa: E402
from scoring.api.accounting import account_for  # noqa: E402
from scoring.api.answering import answer_batch, answer_one  # noqa: E402
from scoring.api.keys import Client  # noqa: E402
from scoring.api.lean import client_of  # noqa: E402
from scoring.api.problems import request_id_of  # noqa: E402
from scoring.api.views.decide import BatchView, DecisionsView  # noqa: E402
from scoring.api.views.operations import livez, readyz  # noqa: E402
from scoring.decisions.service import engine_service, stop_engine_service  # noqa: E402
from scoring.durability import require_durability  # noqa: E402
from scoring.errors import OVERLOADED, AuthenticationRequired, UnsafeDurability  # noqa: E402

# address -> (how the fast lane answers, the view, the largest body)
_HOT = {
    "/api/v1/decisions": (answer_one, DecisionsView.as_view(), settings.MAX_BODY_BYTES),
    "/api/v1/decisions/batch": (answer_batch, BatchView.as_view(), settings.MAX_BATCH_BODY_BYTES),
}
# How long a thread that keeps house may hold the interpreter up while a decision waits for it; Python's own is 5 ms.
SWITCH_SECONDS = 0.0005
_HEALTH = {"/livez": livez, "/readyz": readyz}
# What Django would read a body from, which is there already.
_NO_STREAM = BytesIO()
logger = logging.getLogger(__name__)


async def application(scope, receive, send) -> None:
    """Serve one connection's request, or the life cycle of the process."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] != "http":
        await _django(scope, receive, send)
    elif scope["method"] == "POST" and scope["path"] in _HOT:
        await _decide(scope, receive, send)
    elif scope["path"] in _HEALTH:
        # Before Django looks at the Host header: probes ask by address.
        await send_response(await sync_to_async(_HEALTH[scope["path"]])(None), send)
    else:
        await within_limit(_django, scope, receive, send)


async def _decide(scope, receive, send) -> None:
    began = time.perf_counter()
    try:
        status, code, request_id = await (_by_fast_lane if settings.FAST_LANE else _by_drf)(scope, receive, send)
    except fast_lane.CallerGone:
        return
    door = "fast" if settings.FAST_LANE else "drf"
    account_for(door, status, code, time.perf_counter() - began, request_id)
    if code in OVERLOADED and (rest := scope.get(fast_lane.REST)) is not None:
        rest()


async def _by_fast_lane(scope, receive, send) -> tuple[int, str, str]:
    answer, _, limit = _HOT[scope["path"]]
    reply, request_id = await fast_lane.serve(scope, receive, answer, limit)
    await fast_lane.send_reply(reply, request_id, send)
    return reply.status, reply.code, request_id


async def _by_drf(scope, receive, send) -> tuple[int, str, str]:
    _, view, limit = _HOT[scope["path"]]
    request = ASGIRequest(scope, _NO_STREAM)
    request.verified_client, is_wanted = await _caller(request.META.get("HTTP_AUTHORIZATION"))
    length = request.META.get("CONTENT_LENGTH", "")
    is_too_large = length.isdigit() and int(length) > limit
    request._body = await fast_lane.read_body(receive, limit) if is_wanted and not is_too_large else b""
    request.waited_us = scope.get(fast_lane.WAITED_US, 0.0)
    reply, request_id = await view.lean.reply_to(request), request_id_of(request)
    await fast_lane.send_reply(reply, request_id, send)
    return reply.status, reply.code, request_id


async def _caller(authorization: str | None) -> tuple[Client | None, bool]:
    """Return who calls, None where the view is to ask again, and whether the body is wanted: who has no valid key sends none."""
    try:
        client = await client_of(authorization)
    except AuthenticationRequired:
        return None, False
    except Exception:
        return None, True  # it could not be found out; the view asks again, and tells what is wrong
    return client, client is not None


async def _lifespan(receive, send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await sync_to_async(require_durability)()
            except UnsafeDurability as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            except DatabaseError as error:
                # It may come up later; each session that commits is asked the same when it is opened.
                logger.warning("the database cannot be asked about its durability yet: %s", error)
            engine_service()  # starts building; /readyz turns green when it is done
            sys.setswitchinterval(SWITCH_SECONDS)
            # What is loaded now stays: the collector need not walk it again with every generation.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 100)
            await send({"type": "lifespan.startup.complete"})
        else:
            await asyncio.to_thread(stop_engine_service)
            await send({"type": "lifespan.shutdown.complete"})
            return
