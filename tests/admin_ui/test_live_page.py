"""The live page, its fragments and the columns of its charts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import NOON, make_decision, make_flagged, make_label, make_release, make_sample, seed_dashboard


def test_an_empty_system_says_so(page):
    text = page.get("/").content.decode()
    assert "No decision in the last 15 minutes" in text
    assert "No decision has been made yet" in text
    assert "No decision of a model has matured yet" in text
    assert "none, rules only" in text


def test_the_page_shows_the_champion(page):
    make_release("v7", "champion", promoted_at=NOON)
    assert "<code>v7</code>" in page.get("/").content.decode()


def test_figures_fragment(htmx):
    now = timezone.now()
    for second in range(3, 0, -1):
        make_sample(
            now - timedelta(seconds=second), decisions=200, degraded=2, refused=5, errors=1, cpu_seconds=0.8,
            outcomes={"approve": 190, "decline": 10}, latency_ms={1.0: 190, 30.0: 10},
        )  # fmt: skip
    text = htmx.get("/live/figures").content.decode()
    assert "<html" not in text
    assert "1 engine process deciding" in text
    assert "6 of 600" in text and "1.00\u202f%" in text
    assert ">570<" in text and "95.00\u202f%" in text
    # 2.4 core seconds for 600 decisions at the default price.
    assert "<dd>0.05 <small>EUR</small></dd>" in text


def test_an_idle_engine_is_told(htmx):
    make_sample(timezone.now() - timedelta(seconds=90), decisions=5, outcomes={"approve": 5})
    assert "Idle: no request since" in htmx.get("/live/figures").content.decode()


def test_accuracy_fragment_tells_counts_intervals_and_range(htmx):
    for day in range(4):
        make_label(make_flagged(occurred_at=NOON + timedelta(days=day)))
    make_label(make_flagged(occurred_at=NOON + timedelta(days=1, hours=1)), "legitimate")
    make_label(make_decision(occurred_at=NOON + timedelta(days=2, hours=1)))
    make_decision(occurred_at=NOON + timedelta(days=20))
    text = htmx.get("/live/accuracy").content.decode()
    assert "4 of 5 flagged" in text and "4 of 5 frauds" in text
    assert "0.376 – 0.964" in text
    assert "6 matured decisions that occurred from <time" in text
    tables = htmx.get("/live/tables").content.decode()
    assert "minus, for each good payment declined" in tables and '<th scope="row">EUR</th>' in tables


def test_without_a_fraud_and_without_an_alarm_the_page_still_stands(page):
    make_decision()
    make_decision(occurred_at=NOON + timedelta(days=20))
    text = page.get("/").content.decode()
    assert "0 of 0 flagged" in text and "0 of 0 frauds" in text and "<dd>–</dd>" in text


def test_what_is_left_out_is_told(htmx):
    make_label(make_flagged(), "dispute")
    make_flagged()  # declined, and nobody has said since what it was
    make_decision()
    make_decision(mode="rules_only", probability=None)
    make_decision(occurred_at=NOON + timedelta(days=20))
    assert (
        "Left out: 2 in dispute or stopped without a verdict, 1 decided by rules alone"
        in htmx.get("/live/accuracy").content.decode()
    )


def test_ticker_links_the_newest_first(htmx):
    make_decision(transaction_id="older")
    newest = make_flagged(transaction_id="newest")
    text = htmx.get("/live/ticker").content.decode()
    assert text.index('title="newest"') < text.index('title="older"')
    assert f"/decisions/{newest.decision_id}/" in text
    assert "1\u202f189.00\u00a0EUR" in text


def test_chart_columns_have_one_length(page):
    seed_dashboard(timezone.now(), decisions=600)
    engine = page.get("/live/engine.json").json()
    assert set(engine) == {"at", "per_second", "p50_ms", "p95_ms", "p99_ms"}
    assert {len(column) for column in engine.values()} == {180}
    assert sum(v is not None for v in engine["p99_ms"]) > 150
    accuracy = page.get("/live/accuracy.json").json()
    assert len({len(column) for column in accuracy.values()}) == 1
    assert any(accuracy["average_precision"])


def test_accuracy_columns_of_an_empty_system(page):
    assert page.get("/live/accuracy.json").json() == {"at": []}


@pytest.mark.parametrize("path", ["/", "/live/figures", "/live/engine.json"])
def test_the_live_page_is_read_only(page, path):
    assert page.post(path).status_code == 405
