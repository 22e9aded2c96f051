"""ASGI entry point: the decision path by a short way, everything else through Django.

Django's own handler costs several times what a decision does: a thread hop for each signal receiver, a task that
listens for a disconnect, the middlewares. The two addresses below need none of it, and run the very same views. The Host
header plays no part there: callers are known by their keys, and nothing in an answer is made from it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from io import BytesIO

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "riskapp.settings")

from django.core.asgi import get_asgi_application  # noqa: E402

_django = get_asgi_application()

from asgiref.sync import sync_to_async  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.handlers.asgi import ASGIRequest  # noqa: E402

from riskapp.body_limit import send_response, within_limit  # noqa: E402
from scoring.api.lean import client_of  # noqa: E402
from scoring.api.problems import problem_of, problem_response, request_id_of  # noqa: E402
from scoring.api.views.decide import BatchView, DecisionsView  # noqa: E402
from scoring.api.views.operations import livez, readyz  # noqa: E402
from scoring.decisions.engine_thread import engine_thread, stop_engine_thread  # noqa: E402
from scoring.errors import AuthenticationRequired, BodyTooLarge  # noqa: E402

_HOT = {
    "/api/v1/decisions": (DecisionsView.as_view(), settings.MAX_BODY_BYTES),
    "/api/v1/decisions/batch": (BatchView.as_view(), settings.MAX_BATCH_BODY_BYTES),
}
_HEALTH = {"/livez": livez, "/readyz": readyz}
# A conflict, and a decision that could not be made.
_COUNTED_BY_ENGINE = (409, 503)


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
    view, limit = _HOT[scope["path"]]
    # Who has no valid key sends no body either: the view refuses before it looks at one.
    has_key = await _has_key(scope)
    too_large = has_key and _announced_bytes(scope) > limit
    body = await _read_body(receive, limit) if has_key and not too_large else b""
    if body is None:
        return  # the caller is gone
    request = ASGIRequest(scope, BytesIO(body))
    request._body = body
    if too_large or len(body) > limit:
        response = problem_response(problem_of(BodyTooLarge(limit), request_id_of(request)))
    else:
        response = await view(request)
    await send_response(response, send)
    if engine := engine_thread().engine:
        engine.counters.observe_latency(time.perf_counter() - began)
        if response.status_code >= 400 and response.status_code not in _COUNTED_BY_ENGINE:
            engine.counters.refused += 1


async def _has_key(scope) -> bool:
    header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    try:
        return await client_of(header.decode("latin-1")) is not None
    except AuthenticationRequired:
        return False
    except Exception:
        return True  # it could not be found out; the view asks again, and tells what is wrong


def _announced_bytes(scope) -> int:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(length) if length.isdigit() else 0


async def _read_body(receive, limit: int) -> bytes | None:
    """Return the body, or its first bytes beyond the limit; None where the connection closed before its end."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body") and size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return b"".join(parts)


async def _lifespan(receive, send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            engine_thread()  # starts building; /readyz turns green when it is done
            # What is loaded now stays: the collector need not walk it again with every generation.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 100)
            await send({"type": "lifespan.startup.complete"})
        else:
            await asyncio.to_thread(stop_engine_thread)
            await send({"type": "lifespan.shutdown.complete"})
            return
