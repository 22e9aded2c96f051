"""Keys of machine clients: shown once, stored as a hash."""

from __future__ import annotations

from django.db import models

SCOPES = ("decisions:write", "decisions:read", "labels:write", "metrics:read")


class ApiKey(models.Model):
    """`prefix` finds the row, `secret_hash` is SHA-256 over the 256-bit random secret."""

    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, unique=True)
    secret_hash = models.BinaryField(max_length=32)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    rate_per_second = models.FloatField(null=True, blank=True, help_text="decisions a second; 0: no limit, empty: the settings'")
    rate_burst = models.PositiveIntegerField(null=True, blank=True, help_text="decisions at once; empty: those of a second")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
