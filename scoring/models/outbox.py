"""Effects that follow from a commit, written in the same transaction and carried out afterwards, at least once."""

from __future__ import annotations

from django.db import models


class OutboxEvent(models.Model):
    """Consumers are idempotent; a row leaves the table when its effect is done."""

    topic = models.CharField(max_length=40)
    subject = models.CharField(max_length=64, help_text="the decision id that the effect belongs to")
    created_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return f"{self.topic} for {self.subject}"
