"""The panel with the exact explanation: on demand, by htmx or without it, and what it says where there is none."""

from __future__ import annotations

import re
import shutil

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from scoring.decisions.released_programs import released_programs
from scoring.feature_rows import stored_row
from scoring.features.schema import current_schema
from tests.admin_ui.test_browser import Dashboard, brightness_of_body, emulate_colour_scheme
from tests.factories import make_analyst, make_flagged
from tests.scoring.decisions.conftest import make_champion
from tests.scoring.decisions.programs import risk_program

__all__ = ["make_champion"]


@pytest.fixture(autouse=True)
def nothing_is_held():
    released_programs.forget()
    yield
    released_programs.forget()


def decided(**given):
    decision = make_flagged(**{"program_version": "v1"} | given)
    decision.margin = float(risk_program().run(stored_row(decision.features)[None]).margin[0])
    decision.save()
    return decision


def asked(client, decision):
    return client.get(f"/decisions/{decision.decision_id}/explanation")


def test_the_page_offers_it_and_works_nothing_out(page, make_champion, monkeypatch):
    make_champion("v1")
    monkeypatch.setattr(released_programs, "get", lambda release: pytest.fail("not asked for"))
    decision = decided()
    text = page.get(f"/decisions/{decision.decision_id}/").content.decode()
    address = f"/decisions/{decision.decision_id}/explanation"
    assert f'hx-get="{address}"' in text and f'href="{address}"' in text and "Explain exactly" in text


def test_htmx_gets_the_panel_alone(htmx, make_champion):
    make_champion("v1")
    response = asked(htmx, decided())
    text = response.content.decode()
    assert response.status_code == 200 and text.lstrip().startswith('<section class="panel" id="explanation"')
    assert "<html" not in text and "no-store" in response["Cache-Control"]
    assert "program <code>v1</code>" in text and "not those that were decided on" not in text
    # The heading takes the focus, since the button that had it is gone.
    assert 'tabindex="-1" autofocus' in text
    assert current_schema().columns[current_schema().index("amount_minor")].text.capitalize() in text


def test_its_numbers_add_up(htmx, make_champion):
    make_champion("v1")
    text = asked(htmx, decided()).content.decode().replace("−", "-")
    told = ("nothing known", "with all features", "as decided")
    nothing, all_features, as_decided = (float(re.search(rf"<dt>{name}</dt><dd>([^<]+)</dd>", text)[1]) for name in told)
    exact, fast = zip(*re.findall(r'<td class="num">([+-][\d.]+)</td><td class="num muted">([+-][\d.]+)</td>', text), strict=True)
    # Each is rounded to two digits.
    assert all_features == as_decided
    assert nothing + sum(map(float, exact)) == pytest.approx(all_features, abs=0.005 * (len(exact) + 2))
    assert nothing + sum(map(float, fast)) == pytest.approx(all_features, abs=0.005 * (len(fast) + 2))


def test_without_htmx_it_comes_in_its_page(page, make_champion):
    make_champion("v1")
    text = asked(page, decided(transaction_id="tx-explained")).content.decode()
    assert '<html lang="en">' in text and "tx-explained" in text and text.count("<h1") == 1
    assert "Largest contributions" in text and "Explain exactly" not in text


@pytest.mark.parametrize("who", ["page", "htmx"])
def test_what_stands_against_it_is_told_in_place(request, make_champion, settings, who):
    client = request.getfixturevalue(who)
    make_champion("v1")
    shutil.rmtree(settings.ARTIFACT_DIR / "v1")
    response = asked(client, decided())
    text = response.content.decode()
    assert response.status_code == 409 and '<p role="alert">Program v1' in text and "Restore its folder" in text


def test_another_margin_than_the_one_decided_on_is_said(htmx, make_champion):
    make_champion("v1")
    decision = decided()
    decision.margin += 0.5
    decision.save()
    assert "not those that were decided on" in asked(htmx, decision).content.decode()


def test_an_unknown_decision_is_not_found(page):
    assert page.get("/decisions/nobody/explanation").status_code == 404


def test_text_from_outside_is_escaped(htmx, make_champion):
    response = asked(htmx, decided(program_version="<script>alert(1)</script>"))
    assert response.status_code == 409 and "<script>" not in response.content.decode()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_it_opens_by_keyboard_in_light_and_dark(browser, live_server, make_champion, tmp_path):
    """Screenshots are left in the test's folder, for a person to look at."""
    dashboard = Dashboard(browser, live_server.url)
    dashboard.log_in(make_analyst("alice"))
    make_champion("v1")
    dashboard.open(f"/decisions/{decided().decision_id}/")
    dashboard.tab_to("a  Explain exactly")
    dashboard.press(Keys.ENTER)
    dashboard.wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#explanation tbody tr"))
    dashboard.wait(lambda: dashboard.focused().startswith("h2  Exact explanation"))
    assert browser.current_url.endswith("/") and dashboard.text("#explanation .explained-warn") == ""
    browser.execute_script("document.getElementById('explanation').scrollIntoView()")
    for theme, is_right in (("light", lambda brightness: brightness > 220), ("dark", lambda brightness: brightness < 40)):
        emulate_colour_scheme(browser, theme)
        assert is_right(brightness_of_body(browser))
        assert browser.save_screenshot(str(tmp_path / f"explanation-{theme}.png"))
    scroll, width = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert scroll <= width
    assert dashboard.console_errors() == []
