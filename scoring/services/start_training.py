"""Asking for a training run: the row is the truth, the message to Celery only makes it start sooner."""

from __future__ import annotations

import uuid
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from scoring.learning.sweep import nudge
from scoring.models import AuditEntry, TrainingRun

SCHEDULE, MANUAL, BOOTSTRAP = "schedule", "manual", "bootstrap"
_UNFINISHED = (TrainingRun.State.PENDING, TrainingRun.State.RUNNING)


def start_training(trigger: str, actor: str) -> TrainingRun:
    """Return the run that answers this request, having asked a worker to carry it out.

    The worker is asked after the commit. If the broker is away, the sweeper finds the waiting row.
    """
    with transaction.atomic():
        run = open_run(trigger, actor)
        transaction.on_commit(partial(nudge, run.pk))
    return run


@transaction.atomic
def open_run(trigger: str, actor: str) -> TrainingRun:
    """Return the unfinished run of this trigger, or a new one.

    A scheduled run belongs to its period of RETRAIN_EVERY_SECONDS: two schedulers that fire in one period get the same
    row, finished or not.

    Raises:
        ValueError: the trigger is not known.
    """
    if trigger not in (SCHEDULE, MANUAL, BOOTSTRAP):
        raise ValueError(f"trigger must be {SCHEDULE}, {MANUAL} or {BOOTSTRAP}; got {trigger!r}")
    unfinished = TrainingRun.objects.filter(trigger=trigger, state__in=_UNFINISHED).order_by("id").first()
    if unfinished is not None:
        return unfinished
    run, is_new = TrainingRun.objects.get_or_create(slot=_slot(trigger), defaults={"trigger": trigger})
    if is_new:
        AuditEntry.objects.create(actor=actor, action="training.start", subject=run.slot)
    return run


def _slot(trigger: str) -> str:
    now = timezone.now()
    if trigger == SCHEDULE:
        return f"schedule-{int(now.timestamp() // settings.RETRAIN_EVERY_SECONDS)}-{settings.RETRAIN_EVERY_SECONDS:g}s"
    return f"{trigger}-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
