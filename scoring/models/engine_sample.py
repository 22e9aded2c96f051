"""What an engine process did in one second: the source of the live page, summed over processes."""

from __future__ import annotations

from django.db import models


class EngineSample(models.Model):
    """Counts and a latency histogram over the second that ended at `at`.

    `latency_counts` holds counts per bucket of `scoring.telemetry.LATENCY_BOUNDS_MS`, with one more for the overflow.
    """

    at = models.DateTimeField(db_index=True)
    process = models.CharField(max_length=40)
    seconds = models.FloatField(help_text="length of the interval that this row covers")
    decisions = models.PositiveIntegerField(default=0)
    replays = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)
    degraded = models.PositiveIntegerField(default=0)
    batches = models.PositiveIntegerField(default=0)
    outcomes = models.JSONField(default=dict, help_text="outcome name -> count")
    latency_counts = models.JSONField(default=list)
    cpu_seconds = models.FloatField(default=0.0, help_text="processor time of the process in the interval")
    queue_depth = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.decisions} decisions"
