"""JSON out."""

from __future__ import annotations

from typing import Any

import msgspec
from rest_framework.renderers import BaseRenderer

# DRF's own error details are strings of a subclass, which msgspec does not take as they are.
_encoder = msgspec.json.Encoder(enc_hook=str)


class JsonRenderer(BaseRenderer):
    """Bytes pass through as they are, everything else is encoded."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: dict | None = None) -> bytes:
        return data if isinstance(data, bytes) else _encoder.encode(data)
