"""Who changed what: every act of a person or job that alters what production decides."""

from __future__ import annotations

from django.db import models


class AuditEntry(models.Model):
    """Append-only."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=80)
    action = models.CharField(max_length=40)
    subject = models.CharField(max_length=80)
    details = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["-at"], name="audit_time")]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.subject}"
