"""Claiming, releasing and closing alerts, and what each leaves behind."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scoring.errors import AlertAlreadyClosed, AlertNotFound
from scoring.models import Alert, AuditEntry, Label
from scoring.selectors.accuracy import accuracy
from scoring.services import review_alert
from scoring.services.review_alert import (
    AlertClaimedByAnother,
    AlertNotClaimed,
    DispositionInvalid,
    LabelRefused,
    claim_alert,
    close_alert,
    release_alert,
)
from tests.factories import NOON, make_alert, make_analyst, make_decision, make_label

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture(autouse=True)
def cheap_passwords(settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice():
    return make_analyst("alice")


@pytest.fixture
def bob():
    return make_analyst("bob")


def actions() -> list[tuple[str, str]]:
    return list(AuditEntry.objects.order_by("id").values_list("actor", "action"))


def test_claim_and_release(alice):
    alert = make_alert()
    assert claim_alert(alert.pk, alice).assignee == alice
    claim_alert(alert.pk, alice)
    assert Alert.objects.get().state == "claimed"
    release_alert(alert.pk, alice)
    assert (Alert.objects.get().state, Alert.objects.get().assignee) == ("open", None)
    assert actions() == [("alice", "alert.claim"), ("alice", "alert.release")]
    assert AuditEntry.objects.last().subject == alert.decision.decision_id


def test_what_another_works_on_stays_theirs(alice, bob):
    alert = make_alert()
    claim_alert(alert.pk, alice)
    for act in (claim_alert, release_alert, lambda pk, user: close_alert(pk, user, "confirmed_fraud")):
        with pytest.raises(AlertClaimedByAnother, match="alice"):
            act(alert.pk, bob)
    assert Alert.objects.get().assignee == alice and not Label.objects.exists()


def test_a_superuser_releases_what_another_left_claimed(alice):
    alert = make_alert()
    claim_alert(alert.pk, alice)
    release_alert(alert.pk, make_analyst("root", is_superuser=True))
    assert Alert.objects.get().state == "open"
    assert AuditEntry.objects.last().details["claimed_by"] == "alice"


def test_nothing_to_release(alice):
    with pytest.raises(AlertNotClaimed):
        release_alert(make_alert().pk, alice)


@pytest.mark.parametrize(
    ("disposition", "label"),
    [("confirmed_fraud", "fraud"), ("false_positive", "legitimate"), ("inconclusive", None)],
)
def test_closing_writes_the_label_that_it_stands_for(alice, disposition, label):
    alert = make_alert()
    close_alert(alert.pk, alice, disposition, "seen it")
    alert.refresh_from_db()
    assert (alert.state, alert.disposition, alert.note, alert.assignee) == ("closed", disposition, "seen it", alice)
    assert alert.closed_at is not None
    assert [(x.label, x.source, x.actor) for x in Label.objects.all()] == ([(label, "analyst", "alice")] if label else [])
    entry = AuditEntry.objects.get(action="alert.close")
    assert entry.details["disposition"] == disposition
    assert (entry.details["label_id"] or "").startswith(f"alert-{alert.pk}-" if label else "")


def test_an_analysts_verdict_is_the_latest_whatever_was_reported_before(alice):
    alert = make_alert()
    make_label(alert.decision, "fraud", reported_at=NOON + timedelta(days=9))
    close_alert(alert.pk, alice, "false_positive")
    newest = Label.objects.order_by("-reported_at").first()
    assert newest.label == "legitimate" and newest.reported_at > NOON + timedelta(days=9)


def test_the_verdict_is_dated_by_the_event_clock(alice):
    alert = make_alert()
    make_decision(occurred_at=NOON + timedelta(days=20))
    close_alert(alert.pk, alice, "confirmed_fraud")
    assert Label.objects.get().reported_at == NOON + timedelta(days=20)
    assert accuracy().recall.total == 1


def test_a_closed_alert_stays_closed(alice):
    alert = make_alert()
    close_alert(alert.pk, alice, "inconclusive")
    for act in (claim_alert, release_alert, lambda pk, user: close_alert(pk, user, "confirmed_fraud")):
        with pytest.raises(AlertAlreadyClosed):
            act(alert.pk, alice)
    assert not Label.objects.exists()


def test_a_refused_label_leaves_the_alert_open(alice, monkeypatch):
    alert = make_alert()
    # By some mishap the label id is taken for something else.
    monkeypatch.setattr(review_alert.secrets, "token_hex", lambda size: "0" * 2 * size)
    make_label(make_decision(), label_id=f"alert-{alert.pk}-{'0' * 16}")
    with pytest.raises(LabelRefused, match="already recorded"):
        close_alert(alert.pk, alice, "confirmed_fraud")
    alert.refresh_from_db()
    assert alert.state == "open" and alert.assignee is None and actions() == []


def test_an_unknown_disposition_or_alert(alice):
    with pytest.raises(DispositionInvalid, match="confirmed_fraud"):
        close_alert(make_alert().pk, alice, "guilty")
    with pytest.raises(AlertNotFound):
        claim_alert(123456, alice)


def test_long_names_and_notes_fit(bob):
    long = make_analyst("x" * 150)
    close_alert(make_alert().pk, long, "confirmed_fraud", "n" * 5000)
    assert len(Alert.objects.get().note) == review_alert.NOTE_MAX_LENGTH
    assert AuditEntry.objects.get().actor == Label.objects.get().actor == "x" * 80
