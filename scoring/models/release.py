"""Signed programs that could serve, and the one that does."""

from __future__ import annotations

from django.db import models


class ProgramRelease(models.Model):
    """One artifact folder. At most one release is the champion."""

    class State(models.TextChoices):
        CANDIDATE = "candidate"
        CHAMPION = "champion"
        RETIRED = "retired"
        REFUSED = "refused"

    version = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.CANDIDATE)
    artifact = models.CharField(max_length=200, help_text="folder name below ARTIFACT_DIR")
    manifest_sha256 = models.CharField(max_length=64)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    figures = models.JSONField(default=dict, help_text="what was measured when it was built")
    created_at = models.DateTimeField(auto_now_add=True)
    promoted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=models.Q(state="champion"), name="release_one_champion"),
        ]

    def __str__(self) -> str:
        return f"{self.version} ({self.state})"
