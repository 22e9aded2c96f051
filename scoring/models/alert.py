"""Work for an analyst: exactly one alert for each decision that is review, hold or decline."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from scoring.models.decision import Decision


class Alert(models.Model):
    """Raised from the outbox after the decision's commit; closing it with a disposition writes a label."""

    class State(models.TextChoices):
        OPEN = "open"
        CLAIMED = "claimed"
        CLOSED = "closed"

    class Disposition(models.TextChoices):
        CONFIRMED_FRAUD = "confirmed_fraud", "confirmed fraud"
        FALSE_POSITIVE = "false_positive", "false positive"
        INCONCLUSIVE = "inconclusive", "inconclusive"

    decision = models.OneToOneField(Decision, on_delete=models.PROTECT, related_name="alert")
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    disposition = models.CharField(max_length=16, choices=Disposition.choices, blank=True)
    assignee = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    note = models.TextField(blank=True)
    # Copied from the decision, so that the queue sorts without a join.
    outcome = models.PositiveSmallIntegerField()
    score = models.PositiveSmallIntegerField()
    opened_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["state", "-score", "-id"], name="alert_queue")]

    def __str__(self) -> str:
        return f"alert on {self.decision_id} ({self.state})"
