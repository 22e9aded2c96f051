"""A bound on what a request may send through Django, which itself spools bodies of any size before a view is asked."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from scoring.api.fast_lane import send_bytes
from scoring.api.problems import problem_response
from scoring.errors import BodyTooLarge
from scoring.problems import problem_of


async def within_limit(application: Any, scope: dict, receive: Any, send: Any) -> None:
    """Run `application`; a body beyond MAX_BATCH_BODY_BYTES is cut off and answered with 413."""
    limit = settings.MAX_BATCH_BODY_BYTES
    seen, answered, exceeded = 0, False, False

    async def bounded_receive() -> dict:
        nonlocal seen, exceeded
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            exceeded = True
            return {"type": "http.disconnect"}
        return message

    async def noting_send(message: dict) -> None:
        nonlocal answered
        answered = True
        await send(message)

    await application(scope, bounded_receive, noting_send)
    if exceeded and not answered:
        await send_response(problem_response(problem_of(BodyTooLarge(limit), "")), send)


async def send_response(response: Any, send: Any) -> None:
    """Send a finished Django response."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    await send_bytes(response.status_code, headers, response.content, send)
