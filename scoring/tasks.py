"""Background work. Each task fetches, calls one service and is safe to run twice, or at the same time as itself.

Redis keeps messages, not promises. With acks_late and reject_on_worker_lost a message comes back when the process that
ran it dies while its parent lives. When the whole worker is killed it stays in Redis' `unacked` set until the visibility
timeout (15 minutes here), and in our measurements a SIGKILLed task was not delivered again within a minute even with a
short one. So no task relies on its message: a training run holds a lease in the database, outbox events are rows, and
`sweep_leases`, sent by beat, finds what was abandoned and sends a fresh message. A message that does come back late finds
its work done or in other hands, and ends.

Prefork children must not share a database connection with their parent. Celery's Django fix-up closes what was inherited
when a child starts (worker_process_init) and tidies up around each task; nothing here may open a connection at import.
"""

from __future__ import annotations

from celery import shared_task

from scoring.learning import sweep
from scoring.learning.run import carry_out
from scoring.services import drain_outbox as outbox
from scoring.services import prune_samples as samples
from scoring.services.start_training import SCHEDULE, open_run


@shared_task(name="scoring.retrain")
def retrain(trigger: str = SCHEDULE, run_id: int | None = None) -> None:
    """Carry out the run `run_id`, or this period's run of the trigger, unless someone else does."""
    carry_out(open_run(trigger, actor=f"task:{trigger}").pk if run_id is None else run_id)


@shared_task(name="scoring.sweep_leases")
def sweep_leases() -> None:
    """Hand abandoned runs to a worker."""
    sweep.sweep_leases()


@shared_task(name="scoring.prune_samples")
def prune_samples() -> None:
    """Remove the engine samples that nobody looks at any more."""
    samples.prune_samples()


@shared_task(name="scoring.drain_outbox")
def drain_outbox() -> None:
    """Raise the alerts of committed decisions."""
    outbox.drain_outbox()
