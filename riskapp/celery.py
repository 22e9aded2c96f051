"""The Celery application. The broker is a nudge, never the truth: leases and outbox rows live in the database."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import celeryd_init

from riskapp.log_format import log_uncaught

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "riskapp.settings")

app = Celery("riskapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["scoring"])


@celeryd_init.connect
def _mask_uncaught(**kwargs: object) -> None:
    """In a worker, before it makes its children."""
    log_uncaught()
