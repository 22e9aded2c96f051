"""Removing old engine samples: a busy process writes 86,400 a day, and the live page looks back minutes."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from scoring.models import EngineSample

CHUNK_ROWS = 5_000


def prune_samples() -> int:
    """Remove the samples that are older than SAMPLE_RETENTION_DAYS, and return how many there were.

    In chunks: on SQLite each holds the write lock, which the decision path needs in between.
    """
    before, removed = timezone.now() - timedelta(days=settings.SAMPLE_RETENTION_DAYS), 0
    while True:
        ids = list(EngineSample.objects.filter(at__lt=before).order_by("at").values_list("id", flat=True)[:CHUNK_ROWS])
        if not ids:
            return removed
        # By range of the primary key and time: a list of thousands of ids would be as many parameters.
        found, _ = EngineSample.objects.filter(at__lt=before, id__gte=min(ids), id__lte=max(ids)).delete()
        removed += found
