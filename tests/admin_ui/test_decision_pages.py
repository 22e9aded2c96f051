"""The ledger list, the search, and one decision in full."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from scoring.feature_rows import packed_row
from scoring.features.schema import current_schema
from tests.factories import NOON, REASONS, make_alert, make_decision, make_flagged, make_label

EVIL = '<script>alert("x")</script>'


def shown(page, query: str = "") -> set[str]:
    text = page.get(f"/decisions/{query}").content.decode()
    return {name for name in ("early", "late", "bobs", "flagged") if f">{name}</a>" in text}


@pytest.fixture
def ledger(db) -> None:
    make_decision(transaction_id="early", occurred_at=NOON - timedelta(days=1))
    make_decision(transaction_id="late", degraded=True)
    make_decision(transaction_id="bobs", customer_id="cust-bob", card_id="card-bob")
    make_flagged(transaction_id="flagged")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"early", "late", "bobs", "flagged"}),
        ("?outcome=4", {"flagged"}),
        ("?min_score=500", {"flagged"}),
        ("?customer_id=cust-bob", {"bobs"}),
        ("?card_id=card-bob", {"bobs"}),
        ("?merchant_id=merch-electronics", {"flagged"}),
        ("?since=2026-03-02+11:00", {"late", "bobs", "flagged"}),
        ("?until=2026-03-02+11:00", {"early"}),
        ("?degraded=yes", {"late"}),
        ("?customer_id=nobody", set()),
        ("?since=yesterday", set()),
        ("?customer_id=%00", set()),
    ],
)
def test_filters(page, ledger, query, expected):
    assert shown(page, query) == expected


def test_search_goes_to_the_decision(page, ledger):
    decision = make_decision(transaction_id="wanted:1")
    url = f"/decisions/{decision.decision_id}/"
    assert page.get("/search/", {"q": " wanted:1 "})["Location"] == url
    assert page.get("/search/", {"q": decision.decision_id})["Location"] == url


@pytest.mark.parametrize("text", ["nobody", "\x00", EVIL, "x" * 500])
def test_search_for_what_is_not_there(page, ledger, text):
    response = page.get("/search/", {"q": text})
    body = response.content.decode()
    assert response.status_code == 200 and "No decision has exactly" in body and EVIL not in body


def test_detail_tells_what_was_decided_and_why(page):
    decision = make_flagged(transaction_id="tx-stolen")
    make_label(decision, fraud_type="stolen_card")
    make_alert(decision)
    earlier = make_decision(transaction_id="tx-before")
    text = page.get(f"/decisions/{decision.decision_id}/").content.decode()
    for part in ("decline", "941", "94.12", "1\u202f189.00", "212\u202fµs", "20260301-1a2b3c4d-1", "stolen card", "9f3a1c20"):
        assert part in text, part
    places = [text.index(reason["text"].replace("'", "&#x27;")) for reason in REASONS]
    assert places == sorted(places)
    assert "1 of 3 hit" in text and "insufficient history" in text
    assert "Recent decisions of this customer" in text and earlier.decision_id in text
    assert "Close alert" in text


def test_features_have_names_and_unknown_is_said(page):
    row = np.full(current_schema().width, np.nan, "<f4")
    row[current_schema().index("card.count.24h")] = 7
    row[current_schema().index("is_abroad")] = 1
    decision = make_decision(features=packed_row(row.astype(np.float32)))
    text = page.get(f"/decisions/{decision.decision_id}/").content.decode()
    assert "Number of transactions of this card" in text and '<td class="num">7</td>' in text
    assert '<td class="num">yes</td>' in text
    assert '<span class="unknown">unknown</span>' in text and "nan" not in text.lower().replace("finance", "")


def test_features_of_another_schema_are_not_misnamed(page):
    decision = make_decision(feature_schema="0123456789abcdef", features=packed_row(np.ones(3, np.float32)))
    text = page.get(f"/decisions/{decision.decision_id}/").content.decode()
    assert "The 3 stored values belong to feature schema <code>0123456789abcdef</code>" in text


def test_damaged_features_are_said_and_the_rest_is_shown(page):
    decision = make_decision(features=b"\x00\x00\x80\x3f" * 3)
    text = page.get(f"/decisions/{decision.decision_id}/").content.decode()
    assert "The stored values are not readable: packed row 0 is no packed row of version 1" in text
    assert decision.transaction_id in text and "Recent decisions" in text


def test_a_decision_of_rules_alone(page):
    decision = make_decision(probability=None, margin=None, degraded=True, mode="rules_only", customer_id=None, card_id=None)
    text = page.get(f"/decisions/{decision.decision_id}/").content.decode()
    assert "the model gave none" in text and "rules only" in text
    assert "No reason was given" in text and "This decision raised none" in text
    assert "names neither a customer nor a card" in text


def test_text_from_outside_is_escaped(page):
    reason = {"code": EVIL, "source": EVIL, "text": EVIL, "weight": 1.0, "feature": EVIL, "value": EVIL}
    rule = {"rule_id": EVIL, "outcome": EVIL}
    decision = make_flagged(
        transaction_id=EVIL, customer_id=EVIL, merchant_id=EVIL, mode=EVIL[:24], reasons=[reason], rules=[rule]
    )
    make_alert(decision)
    make_label(decision, fraud_type=EVIL[:40], actor=EVIL, source="analyst")
    for path in (f"/decisions/{decision.decision_id}/", "/decisions/", "/alerts/", "/"):
        text = page.get(path).content.decode()
        assert "<script>alert" not in text and "&lt;script&gt;" in text, path


@pytest.mark.parametrize("decision_id", ["00000000-0000-0000-0000-000000000000", "x", "%00"])
def test_an_unknown_decision_is_not_found(page, decision_id):
    assert page.get(f"/decisions/{decision_id}/").status_code == 404
