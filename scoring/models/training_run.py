"""One retraining: its frozen snapshot, its lease and its figures."""

from __future__ import annotations

from django.db import models

from scoring.models.release import ProgramRelease


class TrainingRun(models.Model):
    """`slot` is unique, so that two schedulers never start the same run twice.

    Whoever works on the run renews `lease_expires_at`; a sweeper hands an expired run to the next worker, with a
    larger `fencing_token`, so that a worker that wakes up late can no longer register anything.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        PROMOTED = "promoted"
        REFUSED = "refused"
        SKIPPED = "skipped"
        FAILED = "failed"

    slot = models.CharField(max_length=64, unique=True)
    trigger = models.CharField(max_length=12, help_text="schedule, manual or bootstrap")
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    snapshot = models.JSONField(default=dict, help_text="last ledger seq, last label id, event-time cut-offs")
    figures = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    champion = models.ForeignKey(ProgramRelease, null=True, on_delete=models.PROTECT, related_name="runs_as_champion")
    challenger = models.OneToOneField(ProgramRelease, null=True, on_delete=models.PROTECT, related_name="built_by")
    lease_owner = models.CharField(max_length=80, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    fencing_token = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["state", "lease_expires_at"], name="run_lease")]

    def __str__(self) -> str:
        return f"run {self.slot} ({self.state})"
