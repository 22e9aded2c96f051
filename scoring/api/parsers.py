"""JSON in, within the limits of size and depth."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from scoring.errors import BodyTooLarge
from scoring.reading import decode_object


def bounded_body(stream, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        BodyTooLarge: it has more than `limit` bytes; not more than that is read.
    """
    body = stream.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body


class BoundedJsonParser(BaseParser):
    """Gives the decoded JSON."""

    media_type = "application/json"

    def parse(self, stream, media_type: str | None = None, parser_context: dict | None = None) -> Any:
        view = (parser_context or {}).get("view")
        return decode_object(bounded_body(stream, getattr(view, "max_body_bytes", settings.MAX_BODY_BYTES)))
