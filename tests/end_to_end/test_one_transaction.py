"""The tour: a payment comes in, is decided, turns out to be fraud, and the next one feels it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.any_database


def test_one_transaction_from_post_to_label(server, key):
    server.start()

    def send(method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        status, raw = server.request(method, path, body, key)
        return status, json.loads(raw)

    # A bank sends a payment made eight days ago, so that its label will have matured.
    paid_at = datetime.now(UTC) - timedelta(days=8)
    payment = {
        "transaction_id": "tx-1",
        "occurred_at": paid_at.isoformat(),
        "amount_minor": 4_999,
        "currency": "EUR",
        "type": "card_payment",
        "channel": "pos",
        "customer_id": "cust-alice",
        "card_id": "card-alice",
        "merchant_id": "merch-corner-shop",
        "terminal_id": "term-1",
    }
    status, decision = send("POST", "/api/v1/decisions", payment)
    assert status == 200
    assert decision["outcome"] == "review" and decision["mode"] == "rules_only", (
        "there is no model yet, and nothing is approved blindly"
    )

    # A retry after a lost answer gets the same decision.
    assert send("POST", "/api/v1/decisions", payment) == (200, decision)

    # A dry run shows what the next payment at this terminal would look like.
    next_payment = payment | {"transaction_id": "tx-2", "occurred_at": datetime.now(UTC).isoformat()}
    status, before = send("POST", "/api/v1/decisions/dry-run", next_payment)
    assert status == 200 and before["decision_id"] is None
    assert before["features"]["card.count.30d"] == 1 and before["features"]["terminal.risk_fraud.3d"] == 0

    # The customer says that it was fraud.
    label = {
        "decision_id": decision["decision_id"],
        "label": "fraud",
        "fraud_type": "stolen_card",
        "source": "customer",
        "reported_at": datetime.now(UTC).isoformat(),
    }
    status, recorded = send("POST", "/api/v1/labels", label)
    assert status == 201

    # The decision now shows it, with the features that it was made on.
    status, detail = send("GET", f"/api/v1/decisions/{decision['decision_id']}")
    assert status == 200
    assert {name: detail[name] for name in decision} == decision
    assert detail["labels"][0]["label_id"] == recorded["results"][0]["label_id"] and detail["labels"][0]["label"] == "fraud"
    assert detail["features"]["amount_minor"] == 4_999 and detail["features"]["card.count.30d"] == 0

    # Within ENGINE_REFRESH_SECONDS the terminal is known as risky.
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while send("POST", "/api/v1/decisions/dry-run", next_payment)[1]["features"]["terminal.risk_fraud.3d"] != 1:
        assert datetime.now(UTC) < deadline, "the engine did not notice the label"

    # And the list of decisions holds the one that was made.
    status, page = send("GET", "/api/v1/decisions?card_id=card-alice")
    assert status == 200 and page == {"decisions": [decision], "next_cursor": None}
