"""The event clock: how far the stream of transactions has come, whatever the wall clock says."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max

from scoring.models import Decision


def event_clock() -> datetime | None:
    """Return the newest `occurred_at` of the ledger, None while it is empty.

    A replayed or accelerated stream lives in its own time, so maturity is measured against this clock.
    """
    return Decision.objects.aggregate(newest=Max("occurred_at"))["newest"]


def matured_until(clock: datetime) -> datetime:
    """Return the event time up to which the absence of a label means that the payment was good."""
    return clock - timedelta(days=settings.LABEL_MATURITY_DAYS)
