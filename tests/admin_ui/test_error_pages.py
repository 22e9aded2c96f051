"""Errors in the style of the dashboard, with a policy of their own, since no view sends the header."""

from __future__ import annotations

import pytest
from django.template.loader import render_to_string
from django.test import Client


@pytest.mark.parametrize("code", ["400", "403", "403_csrf", "404", "500"])
def test_error_page_needs_neither_request_nor_database(code):
    text = render_to_string(f"{code}.html", {})
    assert "<h1>" in text and 'href="/"' in text
    assert 'http-equiv="Content-Security-Policy" content="default-src' in text


def test_unknown_address(page):
    response = page.get("/nowhere")
    assert response.status_code == 404 and "There is nothing at this address" in response.content.decode()


def test_a_form_from_elsewhere_is_refused(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    response = client.post("/models/retrain")
    assert response.status_code == 403 and "not sent from a page of this dashboard" in response.content.decode()


def test_an_error_of_ours_shows_the_page_and_no_details(page, monkeypatch):
    def broken(**_):
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr("admin_ui.views.live.latest_decisions", broken)
    page.raise_request_exception = False
    response = page.get("/")
    text = response.content.decode()
    assert response.status_code == 500 and "Something went wrong" in text and "secret" not in text
