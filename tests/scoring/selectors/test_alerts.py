"""The alert queue's reads."""

from __future__ import annotations

import pytest

from scoring.errors import AlertNotFound
from scoring.selectors import alerts
from scoring.selectors.alerts import AlertFilter, alert_by_id, alert_counts, alert_page
from tests.factories import make_alert, make_analyst, make_flagged

pytestmark = pytest.mark.django_db


def test_open_alerts_by_score_without_further_queries(django_assert_num_queries):
    for score in (500, 900, 700):
        make_alert(make_flagged(score=score))
    make_alert(make_flagged(score=999), state="closed", disposition="inconclusive", assignee=make_analyst())
    with django_assert_num_queries(1):
        rows = alert_page(AlertFilter()).rows
        assert [row.decision.score for row in rows] == [900, 700, 500]
        assert [row.assignee for row in rows] == [None] * 3


def test_counts_stop_at_the_limit(monkeypatch):
    monkeypatch.setattr(alerts, "COUNT_LIMIT", 2)
    for _ in range(3):
        make_alert()
    assert alert_counts() == {"open": 2, "claimed": 0, "closed": 0}


def test_an_unknown_alert():
    with pytest.raises(AlertNotFound):
        alert_by_id(1)
