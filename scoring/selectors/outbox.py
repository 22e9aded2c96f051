"""How far the effects of decisions are behind."""

from __future__ import annotations

from datetime import datetime

from scoring.models import OutboxEvent


def outbox_lag_seconds(now: datetime) -> float:
    """Return the age of the oldest effect that waits; 0 where none does."""
    oldest = OutboxEvent.objects.order_by("id").values_list("created_at", flat=True).first()
    return 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
