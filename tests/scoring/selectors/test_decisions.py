"""Lists, search and the detail of decisions."""

from __future__ import annotations

import pytest

from scoring.errors import DecisionNotFound
from scoring.models import Rule
from scoring.selectors.decisions import (
    DecisionFilter,
    decision_detail,
    decision_page,
    find_decision,
    latest_decisions,
)
from tests.factories import make_alert, make_decision, make_flagged, make_label

pytestmark = pytest.mark.django_db


def test_lists_read_no_large_columns(django_assert_num_queries):
    make_decision()
    with django_assert_num_queries(1):
        (row,) = decision_page(DecisionFilter()).rows
    assert {"features", "response", "transaction"} <= row.get_deferred_fields()
    assert {"features", "response", "transaction"} <= latest_decisions()[0].get_deferred_fields()


def test_find_by_either_id_and_only_exactly():
    decision = make_decision(transaction_id="tx:1")
    assert find_decision("tx:1") == find_decision(decision.decision_id) == decision.decision_id
    assert find_decision("tx:") is None and find_decision("TX:1") is None


def test_detail_brings_everything():
    Rule.objects.create(rule_id="card_testing", name="Card testing")
    decision = make_flagged()
    late = make_label(decision, "legitimate", reported_at=decision.received_at)
    early = make_label(decision, "fraud")
    alert = make_alert(decision)
    other = make_decision()
    make_decision(customer_id="cust-bob")
    found = decision_detail(decision.decision_id)
    assert found.labels == (late, early) and found.alert == alert
    assert (found.recent_of, found.recent) == ("customer_id", (other,))
    assert [r.rule_id for r in found.answer.rules] == ["card_testing", "new_beneficiary", "blocked_device"]
    assert found.answer.rules[0].name == "Card testing" and found.hits == 1
    assert found.answer.reasons[1].rule_id == "card_testing" and found.answer.reasons[0].value == 9.1
    assert found.answer.timing_us == {"queue": 41, "features": 118, "program": 53}
    assert found.transaction["merchant_id"] == "merch-electronics"


def test_recent_decisions_of_the_card_where_no_customer_is_named():
    decision = make_decision(customer_id=None)
    other = make_decision(customer_id=None)
    found = decision_detail(decision.decision_id)
    assert (found.recent_of, found.recent) == ("card_id", (other,))


def test_a_reason_may_say_more_than_is_known_here():
    reason = {"code": "model.x", "source": "model", "text": "x", "weight": 1.0, "confidence_of_tomorrow": 3}
    decision = make_decision(reasons=[reason])
    assert decision_detail(decision.decision_id).answer.reasons[0].text == "x"


def test_an_unknown_decision():
    with pytest.raises(DecisionNotFound):
        decision_detail("nobody")
