"""Who may work on a training run: a lease in its row, renewed by a heartbeat, with a fencing token.

The lease decides who should work; the token decides whose result counts. A worker that was paused for longer than its
lease still holds an older token, and `fenced` refuses it inside the very transaction in which it would register a model.
Clocks of two hosts therefore matter for how soon a run is taken over, never for whether it is registered once.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from scoring.models import TrainingRun

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
RETRY_SECONDS = 5.0
# A worker that hangs would renew for ever; after this long it is treated as dead.
MAX_WORK_SECONDS = 4 * 3600.0


class LeaseLost(Exception):
    """Another worker has taken the run over; whatever this one built must not be registered."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one run."""

    run_id: int
    token: int


def acquire(run_id: int) -> Lease | None:
    """Take the run if it waits, or if whoever had it stopped renewing; return None where neither is so.

    One conditional UPDATE: of any number of workers that try at once, one row changes for one of them.
    """
    now = timezone.now()
    owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    taken = (
        TrainingRun.objects.filter(pk=run_id, attempts__lt=MAX_ATTEMPTS)
        .filter(available_at(now))
        .update(
            state=TrainingRun.State.RUNNING,
            lease_owner=owner,
            lease_expires_at=_expiry(now),
            fencing_token=F("fencing_token") + 1,
            attempts=F("attempts") + 1,
            started_at=Coalesce("started_at", now),
        )
    )
    if not taken:
        return None
    # The owner's name is unique to this call, so nobody else's token can be read here.
    token = TrainingRun.objects.filter(pk=run_id, lease_owner=owner).values_list("fencing_token", flat=True).first()
    return None if token is None else Lease(run_id, token)


def available_at(now) -> Q:
    """Return the condition for runs that a worker may take: waiting and due, or running on an expired lease."""
    due = Q(lease_expires_at__isnull=True) | Q(lease_expires_at__lt=now)
    return (Q(state=TrainingRun.State.PENDING) & due) | Q(state=TrainingRun.State.RUNNING, lease_expires_at__lt=now)


def renew(lease: Lease) -> bool:
    """Extend the lease; return False when it is no longer ours."""
    return bool(_held(lease).update(lease_expires_at=_expiry(timezone.now())))


@contextmanager
def fenced(lease: Lease) -> Iterator[TrainingRun]:
    """Open a transaction in which the run is locked and the lease is known to be ours.

    Raises:
        LeaseLost: a later token was handed out, or the run is finished. Nothing of the block is stored.
    """
    with transaction.atomic():
        run = _held(lease).select_for_update().first()
        if run is None:
            raise LeaseLost(f"run {lease.run_id}: the lease with token {lease.token} is no longer valid")
        yield run


def hand_back(lease: Lease, error: BaseException) -> None:
    """Record a failed attempt: the run waits for its next one, or has failed when it was the last.

    Raises:
        LeaseLost: the run is not ours to hand back.
    """
    with fenced(lease) as run:
        run.reason = f"attempt {run.attempts} of {MAX_ATTEMPTS} failed: {type(error).__name__}: {error}"[:2000]
        run.lease_owner = ""
        if run.attempts >= MAX_ATTEMPTS:
            run.state, run.finished_at, run.lease_expires_at = TrainingRun.State.FAILED, timezone.now(), None
        else:
            run.state = TrainingRun.State.PENDING
            run.lease_expires_at = timezone.now() + timedelta(seconds=RETRY_SECONDS * run.attempts)
        run.save()


class Heartbeat:
    """Renews the lease from a thread of its own while the block runs; `check` raises once it is lost."""

    def __init__(self, lease: Lease, *, renew_lease: Callable[[Lease], bool] = renew) -> None:
        self._lease = lease
        self._renew = renew_lease
        self._interval = settings.RETRAIN_LEASE_SECONDS / 3
        self._stopped = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-of-run-{lease.run_id}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()

    def check(self) -> None:
        """Raise LeaseLost if the run now belongs to someone else."""
        if self._lost.is_set():
            raise LeaseLost(f"run {self._lease.run_id}: the lease was not renewed in time")

    def _beat(self) -> None:
        started = time.monotonic()
        try:
            while not self._stopped.wait(self._interval):
                if time.monotonic() - started > MAX_WORK_SECONDS or not self._renewed():
                    self._lost.set()
                    return
        finally:
            connection.close()  # connections belong to a thread; this one ends

    def _renewed(self) -> bool:
        try:
            return self._renew(self._lease)
        except DatabaseError:
            # Worth another try: if the database stays away the lease expires, and the token guards the rest.
            logger.warning("run %s: the lease could not be renewed, trying again", self._lease.run_id, exc_info=True)
            connection.close()
            return True


def _held(lease: Lease):
    return TrainingRun.objects.filter(pk=lease.run_id, fencing_token=lease.token, state=TrainingRun.State.RUNNING)


def _expiry(now):
    return now + timedelta(seconds=settings.RETRAIN_LEASE_SECONDS)
