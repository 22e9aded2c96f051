"""The settings that are read for each payment, as plain attributes: Django's own object takes half a microsecond for one."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.signals import setting_changed


class _HotSettings:
    """As they are in the settings, which change in tests alone."""

    ENGINE_QUEUE_LIMIT: int
    FAST_LANE: bool
    LOG_DECISIONS: bool
    MAX_BODY_BYTES: int
    RATE_LIMIT_BURST: int
    RATE_LIMIT_PER_SECOND: float

    def __init__(self) -> None:
        self.read()
        setting_changed.connect(self.read)

    def read(self, **_signal: Any) -> None:
        """Read all of them."""
        for name in self.__class__.__annotations__:
            setattr(self, name, getattr(settings, name))


hot_settings = _HotSettings()
