"""Old engine samples go, new ones stay."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from scoring.models import EngineSample
from scoring.services import prune_samples as module
from scoring.services.prune_samples import prune_samples
from tests.factories import build_sample

pytestmark = pytest.mark.django_db


@pytest.mark.any_database
def test_samples_go_when_they_are_older_than_the_setting(settings, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    settings.SAMPLE_RETENTION_DAYS = 2.0
    now = timezone.now()
    # Written by two processes, so that ids and times are not in the same order.
    ages = [hours for pair in zip(range(0, 96, 2), range(95, -1, -2), strict=True) for hours in pair]
    EngineSample.objects.bulk_create(build_sample(now - timedelta(hours=hours)) for hours in ages)
    gone = sum(hours >= 48 for hours in ages)
    assert prune_samples() == gone and gone > 40
    left = EngineSample.objects.order_by("at")
    assert left.count() == len(ages) - gone and left.first().at > now - timedelta(days=2)
    assert prune_samples() == 0
