"""Deciding outside the server: the same path, in this process."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scoring.models import Decision, OutboxEvent
from scoring.services.decide import decide_now
from tests.scoring.api.documents import assert_conforms
from tests.scoring.decisions.conftest import fresh_engine, payment

__all__ = ["fresh_engine"]
pytestmark = [pytest.mark.any_database, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _engine(fresh_engine):
    return fresh_engine()


def test_results_come_in_order_as_the_batch_endpoint_gives_them():
    items = [payment(1), {"amount_minor": -1}, payment(2), payment(1), payment(1, amount_minor=3), payment(3, currency="XXX")]
    results = decide_now(items)
    assert [result["status"] for result in results] == [200, 400, 200, 200, 409, 400]
    assert [result.get("replayed") for result in results] == [False, None, False, True, None, None]
    for result in results:
        assert_conforms(result["decision"], "DecisionBody") if "decision" in result else assert_conforms(
            result["error"], "Problem"
        )
    assert results[3]["decision"] == results[0]["decision"]
    assert Decision.objects.count() == 2


def test_nothing_to_decide():
    assert decide_now([]) == []
    assert [result["status"] for result in decide_now([{}, {}])] == [400, 400]


def test_what_is_no_object_is_refused():
    assert [result["status"] for result in decide_now([None, 5, "x", [payment(1)]])] == [400] * 4
    assert Decision.objects.count() == 0


def test_values_that_only_python_can_hold_are_refused():
    odd = [10**400, float("nan"), float("inf"), b"5", 5.0, {5: 6}, object]
    assert [result["status"] for result in decide_now([payment(1, amount_minor=value) for value in odd])] == [400] * len(odd)
    assert [result["status"] for result in decide_now([payment(1, latitude=value) for value in odd[:4]])] == [400] * 4
    assert [result["status"] for result in decide_now([{5: 6}, payment(1, card_id="\ud800")])] == [400] * 2


def test_a_backfill_is_recorded_and_remembered_without_alerts():
    results = decide_now([payment(1), payment(2, timedelta(hours=1))], backfill=True)
    assert {result["decision"]["mode"] for result in results} == {"backfill"}
    assert not any(result["decision"]["degraded"] for result in results)
    assert OutboxEvent.objects.count() == 0
    (live,) = decide_now([payment(3, timedelta(hours=2))])
    assert live["decision"]["mode"] == "rules_only" and OutboxEvent.objects.count() == 1
    (again,) = decide_now([payment(1)])
    assert again["replayed"] and again["decision"]["mode"] == "backfill"
