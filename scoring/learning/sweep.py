"""Finding runs that nobody works on: the worker was killed, the message was lost, or the broker was down."""

from __future__ import annotations

import logging
from datetime import timedelta

from celery import current_app
from django.db.models import F
from django.utils import timezone
from kombu.exceptions import OperationalError

from scoring.learning.lease import MAX_ATTEMPTS, available_at
from scoring.models import TrainingRun

logger = logging.getLogger(__name__)

# A run that was created a moment ago is about to be picked up by its own message.
GRACE_SECONDS = 2.0
MESSAGE_EXPIRES_SECONDS = 60.0


def sweep_leases() -> list[int]:
    """Send each abandoned run to a worker, close those that have used up their attempts, and return the ids sent."""
    now = timezone.now()
    abandoned = TrainingRun.objects.filter(available_at(now), created_at__lt=now - timedelta(seconds=GRACE_SECONDS))
    sent = []
    for run in abandoned.order_by("id"):
        if run.attempts >= MAX_ATTEMPTS:
            _give_up(run)
        elif nudge(run.pk):
            sent.append(run.pk)
    return sent


def nudge(run_id: int) -> bool:
    """Ask a worker to carry out the run; return False, and leave it to the sweeper, when the broker is away."""
    try:
        with current_app.connection_for_write(transport_options=_impatient()) as connection:
            current_app.send_task(
                "scoring.retrain",
                kwargs={"run_id": run_id},
                expires=MESSAGE_EXPIRES_SECONDS,
                connection=connection,
                retry=False,
                ignore_result=True,
            )
    except OperationalError as error:
        logger.warning("run %s waits for the sweeper: the broker does not answer (%s)", run_id, error)
        return False
    return True


def _impatient() -> dict:
    """Return transport options that give up at once: by default a request would wait six seconds for an absent broker."""
    patience = {"max_retries": 1, "interval_start": 0, "interval_max": 0, "socket_connect_timeout": 2, "socket_timeout": 2}
    return current_app.conf.broker_transport_options | patience


def _give_up(run: TrainingRun) -> None:
    reason = f"given up after {run.attempts} attempts; the last worker stopped without a word"
    # The larger token shuts out a worker that is still alive after all.
    changed = TrainingRun.objects.filter(pk=run.pk, fencing_token=run.fencing_token, state=run.state).update(
        state=TrainingRun.State.FAILED,
        reason=f"{reason} ({run.reason})" if run.reason else reason,
        fencing_token=F("fencing_token") + 1,
        lease_owner="",
        lease_expires_at=None,
        finished_at=timezone.now(),
    )
    if changed:
        logger.error("training run %s (%s): %s", run.pk, run.slot, reason)
