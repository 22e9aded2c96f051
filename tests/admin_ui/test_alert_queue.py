"""The alert queue: order, filters, pages, and working an alert in place."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from scoring.models import Alert, AuditEntry, Label, OutboxEvent
from scoring.selectors.alerts import PAGE_SIZE
from tests.factories import make_alert, make_analyst, make_flagged


def transactions_of(response) -> list[str]:
    return re.findall(r'<th scope="row".*?>(tx-\d+|[\w-]+)</a>', response.content.decode())


def make_queue() -> None:
    for name, score, outcome in (("low", 610, 2), ("high", 990, 4), ("middle", 750, 3)):
        make_alert(make_flagged(transaction_id=name, score=score, outcome=outcome))


def test_highest_score_comes_first(page):
    make_queue()
    assert transactions_of(page.get("/alerts/")) == ["high", "middle", "low"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=newest", ["middle", "high", "low"]),
        ("min_score=700", ["high", "middle"]),
        ("outcome=2", ["low"]),
        ("state=closed", []),
        ("state=all&outcome=3", ["middle"]),
    ],
)
def test_filters(page, query, expected):
    make_queue()
    assert transactions_of(page.get(f"/alerts/?{query}")) == expected


def test_mine_shows_what_i_have_claimed(page, alice):
    make_queue()
    Alert.objects.filter(score=610).update(state="claimed", assignee=alice)
    Alert.objects.filter(score=750).update(state="claimed", assignee=make_analyst("bob"))
    assert transactions_of(page.get("/alerts/?state=mine")) == ["low"]
    assert transactions_of(page.get("/alerts/?state=claimed")) == ["middle", "low"]


@pytest.mark.parametrize("query", ["min_score=2000", "outcome=nonsense", "state=gone", "cursor=xyz", "cursor=WzFd"])
def test_a_filter_that_makes_no_sense_is_told(page, query):
    make_queue()
    response = page.get(f"/alerts/?{query}")
    assert response.status_code == 200
    assert 'class="field-error" role="alert"' in response.content.decode()


def test_pages_hold_every_alert_once(page):
    for i in range(PAGE_SIZE + 7):
        make_alert(make_flagged(transaction_id=f"tx-{i}", score=900 + i % 3))
    first = page.get("/alerts/?min_score=10")
    (query,) = re.findall(r'rel="next" href="\?([^"]+)"', first.content.decode())
    assert "min_score=10" in query
    second = page.get("/alerts/?" + query.replace("&amp;", "&"))
    found = transactions_of(first) + transactions_of(second)
    assert len(found) == PAGE_SIZE + 7 and len(set(found)) == PAGE_SIZE + 7
    assert 'rel="next"' not in second.content.decode()


def test_claim_in_place(htmx, alice):
    alert = make_alert()
    response = htmx.post(f"/alerts/{alert.pk}/claim")
    text = response.content.decode()
    assert response.status_code == 200 and f'<tbody id="alert-{alert.pk}"' in text and "by you" in text
    alert.refresh_from_db()
    assert (alert.state, alert.assignee) == ("claimed", alice)


def test_release_in_place(htmx, alice):
    alert = make_alert(state="claimed", assignee=alice)
    assert ">Claim<" in htmx.post(f"/alerts/{alert.pk}/release").content.decode()


def test_what_another_has_claimed_cannot_be_taken(htmx):
    alert = make_alert(state="claimed", assignee=make_analyst("bob"))
    row = htmx.get(f"/alerts/{alert.pk}/").content.decode()
    assert "by bob" in row and "<button" not in row and "Close…" not in row
    response = htmx.post(f"/alerts/{alert.pk}/claim")
    assert response.status_code == 409 and "Bob is working on this alert." in response.content.decode()


def test_close_form_opens_with_its_first_field_focused(htmx):
    alert = make_alert()
    text = htmx.get(f"/alerts/{alert.pk}/close").content.decode()
    assert text.count('type="radio"') == 3 and text.count(" autofocus") == 1
    assert "What did you find?" in text


def test_close_in_place(htmx, alice):
    alert = make_alert()
    response = htmx.post(f"/alerts/{alert.pk}/close", {"disposition": "confirmed_fraud", "note": "called her"})
    text = response.content.decode()
    assert "confirmed fraud" in text and "by you" in text and "<form" not in text
    # Focus stays in the row, where the button was.
    assert text.count(" autofocus") == 1
    assert Label.objects.get().label == "fraud"
    assert AuditEntry.objects.get(action="alert.close").actor == "alice"


def test_close_without_a_disposition_is_told_in_place(htmx):
    alert = make_alert()
    response = htmx.post(f"/alerts/{alert.pk}/close", {"note": "kept"})
    text = response.content.decode()
    assert response.status_code == 422 and "Choose one of the three" in text and "kept</textarea>" in text
    assert Alert.objects.get().state == "open"


def test_closing_twice_is_told(htmx):
    alert = make_alert()
    htmx.post(f"/alerts/{alert.pk}/close", {"disposition": "false_positive"})
    again = htmx.post(f"/alerts/{alert.pk}/close", {"disposition": "confirmed_fraud"})
    assert again.status_code == 409 and "closed already" in again.content.decode()
    assert Label.objects.get().label == "legitimate"


def test_everything_works_without_script(page):
    alert = make_alert()
    url = f"/decisions/{alert.decision.decision_id}/"
    assert page.get(f"/alerts/{alert.pk}/close")["Location"] == f"{url}#alert"
    assert page.post(f"/alerts/{alert.pk}/claim", {"next": "/alerts/?state=all"})["Location"] == "/alerts/?state=all"
    assert page.post(f"/alerts/{alert.pk}/close", {})["Location"] == url
    assert "Choose what you found" in page.get(url).content.decode()
    assert page.post(f"/alerts/{alert.pk}/close", {"disposition": "inconclusive"})["Location"] == url
    assert "inconclusive" in page.get(url).content.decode()


def test_next_leads_to_no_other_site(page):
    alert = make_alert()
    response = page.post(f"/alerts/{alert.pk}/claim", {"next": "https://evil.example/"})
    assert response["Location"] == f"/decisions/{alert.decision.decision_id}/"


@pytest.mark.parametrize("action", ["claim", "release", "close"])
def test_acting_needs_the_form_token(alice, action):
    alert = make_alert()
    client = Client(enforce_csrf_checks=True, headers={"HX-Request": "true"})
    client.force_login(alice)
    data = {"disposition": "confirmed_fraud"}
    assert client.post(f"/alerts/{alert.pk}/{action}", data).status_code == 403
    assert not Label.objects.exists() and Alert.objects.get().state == "open"


@pytest.mark.parametrize("action", ["claim", "release"])
def test_reading_changes_nothing(page, action):
    assert page.get(f"/alerts/{make_alert().pk}/{action}").status_code == 405


@pytest.mark.parametrize("alert_id", ["7", "99999999999999999999999"])
def test_an_unknown_alert_is_not_found(htmx, alert_id):
    assert htmx.post(f"/alerts/{alert_id}/claim").status_code == 404
    assert htmx.get(f"/alerts/{alert_id}/close").status_code == 404


@pytest.mark.parametrize(("minutes", "is_told"), [(0, False), (9, True)])
def test_a_queue_that_lags_behind_the_decisions_says_so(page, minutes, is_told):
    since = datetime.now(UTC) - timedelta(minutes=minutes)
    OutboxEvent.objects.create(topic="alert", subject="a-decision", created_at=since)
    assert ("This queue is 9 min behind" in page.get("/alerts/").content.decode()) is is_told
