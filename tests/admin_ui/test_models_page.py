"""Models: what is shown, who may roll back, and asking for a training run."""

from __future__ import annotations

import pytest
from django.test import Client

from scoring.errors import NothingToRollBackTo
from scoring.models import AuditEntry, TrainingRun
from scoring.selectors.releases import ArtifactRefused
from tests.factories import NOON, gate_figures, make_analyst, make_release, make_run


@pytest.fixture
def line(db):
    """A champion, the one before it, and one that was refused."""
    before = make_release("v1", promoted_at=NOON, figures=gate_figures(None, 0.68))
    champion = make_release("v2", "champion", promoted_at=NOON.replace(hour=18), parent=before)
    refused = make_release("v3", "refused", parent=champion)
    make_run("schedule-1", challenger=champion, champion=before)
    make_run("schedule-2", "refused", challenger=refused, champion=champion, figures=gate_figures(0.73, 0.69, passed=False),
             reason="AP 0.690 against 0.730")  # fmt: skip
    make_run("schedule-3", "skipped", figures={"data": {}}, reason="too few matured frauds")
    return champion


@pytest.fixture
def bob_page(db) -> Client:
    """A test client of bob's, who may roll back."""
    client = Client()
    client.force_login(make_analyst("bob", may_roll_back=True))
    return client


@pytest.fixture
def rolled_back(monkeypatch, line) -> list[str]:
    """Collects who rolled back, in place of the service, which needs signed artifacts."""
    actors = []

    def roll_back(actor: str):
        actors.append(actor)
        return line.parent

    monkeypatch.setattr("scoring.services.release_program.roll_back", roll_back)
    return actors


def test_empty(page):
    text = page.get("/models/").content.decode()
    assert "No champion" in text and "No training has run yet" in text and "No program has been released yet" in text


def test_releases_and_runs_with_their_figures(page, line):
    text = page.get("/models/").content.decode()
    assert "0.730" in text and "0.690 – 0.770" in text and "+0.020" in text
    assert "−0.040" in text and "average precision failed" in text and "calibration passed" in text
    assert "too few matured frauds" in text and "43.2\u202fs" in text
    assert "164 / 18\u202f240" in text and "0.3150\u00a0EUR" in text


def test_a_run_says_what_became_of_its_net(page, line):
    figures = gate_figures(0.73, 0.69) | {"training": {"net": {"included": False, "reason": "left out: AP -0.001"}}}
    make_run("schedule-4", challenger=make_release("v4", "refused", parent=line), champion=line, figures=figures)
    assert page.get("/models/").content.decode().count("Net: left out: AP -0.001") == 1


def test_roll_back_is_offered_to_those_who_may(page, bob_page, line):
    assert "Roll back…" not in page.get("/models/").content.decode()
    assert "Roll back…" in bob_page.get("/models/").content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
def test_roll_back_needs_the_permission(page, rolled_back, method):
    assert getattr(page, method)("/models/roll-back").status_code == 403
    assert rolled_back == []


def test_roll_back_asks_first(bob_page, rolled_back):
    text = bob_page.get("/models/roll-back").content.decode()
    assert "Roll back to v1" in text and "<code>v2</code>" in text and 'method="post"' in text
    assert rolled_back == []


def test_roll_back(bob_page, rolled_back):
    response = bob_page.post("/models/roll-back", follow=True)
    assert rolled_back == ["bob"]
    assert "Rolled back. v1 serves now." in response.content.decode()


def test_a_superuser_may_roll_back(rolled_back):
    client = Client()
    client.force_login(make_analyst("root", is_superuser=True))
    client.post("/models/roll-back")
    assert rolled_back == ["root"]


def test_roll_back_needs_the_form_token(rolled_back):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_analyst("bob", may_roll_back=True))
    assert client.post("/models/roll-back").status_code == 403
    assert rolled_back == []


@pytest.mark.parametrize("error", [NothingToRollBackTo("v1 is the first champion"), ArtifactRefused("model.ubj was changed")])
def test_a_roll_back_that_fails_is_told(bob_page, monkeypatch, error):
    def roll_back(actor: str):
        raise error

    monkeypatch.setattr("scoring.services.release_program.roll_back", roll_back)
    text = bob_page.post("/models/roll-back", follow=True).content.decode()
    assert f"Not rolled back: {error}." in text


def test_nothing_to_roll_back_to(bob_page):
    make_release("v1", "champion", promoted_at=NOON)
    assert "There is no earlier champion" in bob_page.get("/models/roll-back").content.decode()


def test_retrain_opens_a_run_in_the_analysts_name(page, monkeypatch):
    response = page.post("/models/retrain", follow=True)
    run = TrainingRun.objects.get()
    assert (run.trigger, run.state) == ("manual", "pending")
    assert AuditEntry.objects.get(action="training.start").actor == "alice"
    assert f"Training run {run.slot} is pending" in response.content.decode()


def test_retrain_needs_a_post(page):
    assert page.get("/models/retrain").status_code == 405
    assert not TrainingRun.objects.exists()
