"""How many queries a page may make, whatever it shows. Two of them are the session and the user."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from scoring.models import Decision
from tests.factories import seed_dashboard

BUDGETS = {
    "/": 8,
    "/live/figures": 3,
    "/live/accuracy": 5,
    "/live/tables": 5,
    "/live/ticker": 3,
    "/live/engine.json": 3,
    "/live/accuracy.json": 5,
    "/alerts/": 7,
    "/alerts/?state=all&min_score=100&sort=newest": 7,
    "/decisions/": 3,
    "/decisions/?customer_id=cust-0001": 6,
    "decision": 10,
    "/models/": 5,
    "/models/roll-back": 4,
}


@pytest.mark.parametrize("path", BUDGETS)
def test_each_page_makes_so_many_queries(page, alice, path):
    alice.is_superuser = True
    alice.save()
    seed_dashboard(timezone.now(), decisions=400)
    budget = BUDGETS[path]
    if path == "decision":
        path = f"/decisions/{Decision.objects.filter(outcome=4).last().decision_id}/"
    with CaptureQueriesContext(connection) as queries:
        assert page.get(path).status_code == 200
    # Fewer fail as well, so that the budget follows the page down.
    assert len(queries) == budget


def test_the_second_look_within_a_second_costs_nothing(page, django_assert_num_queries):
    seed_dashboard(timezone.now(), decisions=100)
    page.get("/live/accuracy")
    page.get("/live/engine.json")
    with django_assert_num_queries(4):
        page.get("/live/accuracy.json")
        page.get("/live/figures")
