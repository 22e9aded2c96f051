"""Every page is behind the log-in, loads nothing from elsewhere, and stays out of caches."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from admin_ui.urls import urlpatterns
from tests.factories import PASSWORD, make_alert, make_analyst

PUBLIC = {"login", "logout"}
ARGUMENTS = {"alert_id": 1, "decision_id": "00000000-0000-0001-8000-000000000001"}
NAMES = [pattern.name for pattern in urlpatterns if pattern.name not in PUBLIC]


def address(name: str, given: dict | None = None) -> str:
    """The address of a page, with its arguments filled in."""
    (pattern,) = [p for p in urlpatterns if p.name == name]
    arguments = given or ARGUMENTS
    return reverse(f"admin_ui:{name}", kwargs={k: arguments[k] for k in pattern.pattern.converters})


def test_there_are_pages_to_check():
    assert len(NAMES) > 15


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", NAMES)
def test_anonymous_is_sent_to_the_login(client, name, method):
    response = getattr(client, method)(address(name))
    assert response.status_code == 302
    assert response["Location"] == f"{reverse('admin_ui:login')}?next={address(name)}"


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_a_fragment_sends_the_whole_window_to_the_login(client, name):
    response = client.get(address(name), headers={"HX-Request": "true"})
    assert (response.status_code, response["HX-Redirect"]) == (401, reverse("admin_ui:login"))
    assert response.content == b""


@pytest.mark.django_db
def test_a_chart_is_told_that_the_session_is_over(client):
    response = client.get(address("engine_series"), headers={"Accept": "application/json"})
    assert response.status_code == 401


def test_a_deactivated_analyst_is_out_at_once(page, alice):
    assert page.get("/").status_code == 200
    alice.is_active = False
    alice.save()
    assert page.get("/").status_code == 302


def policy_of(response) -> dict[str, str]:
    """The policy in the header or, on an error page, which no view answers, in the page."""
    text = response.headers.get("Content-Security-Policy")
    if text is None:
        assert response.status_code >= 400
        (text,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', response.content.decode())
    return dict(part.split(" ", 1) for part in text.split("; "))


@pytest.mark.parametrize("name", [*NAMES, "login", "unknown alert"])
def test_policy_allows_nothing_inline_or_foreign(page, alice, name):
    alert = make_alert()
    given = {"alert_id": alert.pk, "decision_id": alert.decision.decision_id}
    if name == "login":
        page.logout()
    response = page.get("/alerts/99/" if name == "unknown alert" else address(name, given))
    policy = policy_of(response)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in str(policy) and "http" not in str(policy)
    assert response["X-Frame-Options"] == "DENY"
    if response.status_code < 400:
        assert policy["frame-ancestors"] == "'none'"
        assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("path", ["/", "/alerts/", "/decisions/", "/models/", "/login/"])
def test_pages_have_no_inline_script_or_style(page, path):
    if path == "/login/":
        page.logout()
    text = page.get(path).content.decode()
    assert "<style" not in text and " style=" not in text and " onclick=" not in text
    assert "<script>" not in text
    assert "https://" not in text and "http://" not in text


@pytest.mark.parametrize("path", ["/", "/alerts/", "/decisions/", "/models/"])
def test_pages_can_be_read_without_a_mouse(page, path):
    text = page.get(path).content.decode()
    assert '<html lang="en">' in text and 'href="#main"' in text and '<main id="main"' in text
    assert text.count("<h1") == 1 and 'aria-current="page"' in text


@pytest.mark.django_db
def test_login_and_logout(client):
    make_analyst("bob")
    assert client.post("/login/", {"username": "bob", "password": "wrong"}).status_code == 200
    assert client.get("/").status_code == 302
    response = client.post("/login/?next=/alerts/", {"username": "bob", "password": PASSWORD, "next": "/alerts/"})
    assert (response.status_code, response["Location"]) == (302, "/alerts/")
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/").status_code == 302


@pytest.mark.django_db
def test_login_leads_to_no_other_site(client):
    make_analyst("bob")
    credentials = {"username": "bob", "password": PASSWORD, "next": "https://evil.example/"}
    assert client.post("/login/", credentials)["Location"] == "/"


@pytest.mark.django_db
def test_inactive_user_cannot_log_in(client):
    make_analyst("bob", is_active=False)
    response = client.post("/login/", {"username": "bob", "password": PASSWORD})
    assert "do not match an active account" in response.content.decode()
