"""The dashboard in a real browser: charts that draw and move, the keyboard, both themes, and no word to the outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from scoring.models import Alert, Decision, Label, Outcome
from tests.factories import PASSWORD, make_alert, make_analyst, make_flagged, make_sample, seed_dashboard

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

LOCAL = {"127.0.0.1", "localhost"}
# Colours that differ from the first pixel, over all canvases of the page.
DRAWN_PIXELS = """
return [...document.querySelectorAll("canvas")].map((canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let drawn = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i] > 0) drawn += 1;
  return drawn;
});
"""
FOCUSED = """
const element = document.activeElement;
return `${element.localName} ${element.type ?? ""} ${element.textContent}`.trim();
"""


class Dashboard:
    """The browser at the address of the live server."""

    def __init__(self, driver, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, path: str) -> None:
        self.driver.get(self.address + path)

    def log_in(self, user) -> None:
        """Take over a session, without the form."""
        client = Client()
        client.force_login(user)
        # A cookie can be set only for the site that is open.
        self.open("/login/")
        self.driver.add_cookie({"name": "sessionid", "value": client.cookies[django_settings.SESSION_COOKIE_NAME].value})

    def text(self, selector: str) -> str:
        # In one step: between two the page may have replaced the element.
        return self.driver.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def wait(self, condition: Callable[[], object], seconds: float = 15) -> None:
        WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(lambda _: condition())

    def focused(self) -> str:
        """What has the focus, in words: tag, type, text."""
        return self.driver.execute_script(FOCUSED)

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, wanted: str, most: int = 60) -> None:
        for _ in range(most):
            if self.focused().startswith(wanted):
                return
            self.press(Keys.TAB)
        raise AssertionError(f"{wanted!r} was not reached with the Tab key; the focus is on {self.focused()!r}")

    def console_errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def hosts_asked(self) -> set[str | None]:
        """The hosts of all requests since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        assert urls
        return {urlsplit(url).hostname for url in urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")}


@pytest.fixture
def dashboard(browser, live_server) -> Dashboard:
    return Dashboard(browser, live_server.url)


def test_log_in_and_watch_the_live_page(dashboard):
    make_analyst("alice")
    now = timezone.now()
    seed_dashboard(now, decisions=800)
    dashboard.open("/")
    assert dashboard.driver.current_url.endswith("/login/?next=/")
    dashboard.press("alice", Keys.TAB, PASSWORD, Keys.ENTER)
    dashboard.wait(lambda: dashboard.driver.title.startswith("Live"))

    dashboard.wait(lambda: len(dashboard.driver.find_elements(By.CSS_SELECTOR, "[data-updates]")) == 3)
    drawn = dashboard.driver.execute_script(DRAWN_PIXELS)
    # An empty uPlot canvas still shows its axes: these hold lines as well.
    assert len(drawn) == 3 and min(drawn) > 3000
    assert not dashboard.driver.find_elements(By.CSS_SELECTOR, ".chart.is-empty")

    figures_before = dashboard.text("#live-figures .tile-main")
    make_flagged(transaction_id="tx-just-now", occurred_at=now)
    for second in range(20):
        make_sample(timezone.now() + timedelta(seconds=second - 2), decisions=4321, outcomes={"approve": 4321})
    dashboard.wait(lambda: dashboard.driver.find_elements(By.CSS_SELECTOR, "#live-ticker a[title='tx-just-now']"))
    dashboard.wait(lambda: dashboard.text("#live-figures .tile-main") != figures_before)
    dashboard.wait(
        lambda: int(dashboard.driver.find_element(By.CSS_SELECTOR, "[data-chart=latency]").get_attribute("data-updates")) >= 3
    )
    assert "1 engine process deciding" in dashboard.text("#engine-status")

    assert dashboard.console_errors() == []
    assert dashboard.hosts_asked() <= LOCAL


def test_updates_can_be_paused(dashboard):
    dashboard.log_in(make_analyst("alice"))
    dashboard.open("/")
    button = dashboard.driver.find_element(By.ID, "pause-toggle")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    make_flagged(transaction_id="tx-while-paused")
    with pytest.raises(TimeoutException):
        dashboard.wait(lambda: dashboard.driver.find_elements(By.CSS_SELECTOR, "a[title='tx-while-paused']"), seconds=5)
    button.click()
    dashboard.wait(lambda: dashboard.driver.find_elements(By.CSS_SELECTOR, "a[title='tx-while-paused']"))


def test_an_alert_is_closed_by_keyboard_alone(dashboard):
    dashboard.log_in(make_analyst("alice"))
    for score in (700, 800, 900):
        make_alert(make_flagged(transaction_id=f"tx-{score}", score=score))
    dashboard.open("/alerts/")
    dashboard.press(Keys.TAB)
    assert dashboard.focused() == "a  Skip to content"
    dashboard.press(Keys.ENTER)
    dashboard.tab_to("a  Close…")
    dashboard.press(Keys.ENTER)
    # The form takes the focus; nothing has to be looked for.
    dashboard.wait(lambda: dashboard.focused() == "input radio")
    dashboard.press(Keys.SPACE, Keys.TAB, "card was stolen", Keys.TAB)
    assert dashboard.focused() == "button submit Close alert"
    dashboard.press(Keys.ENTER)
    dashboard.wait(lambda: "confirmed fraud" in dashboard.text(".queue tbody"))
    # The focus stays where the work was.
    dashboard.wait(lambda: dashboard.focused() == "a  tx-900")
    alert = Alert.objects.get(score=900)
    assert (alert.state, alert.disposition, alert.note) == ("closed", "confirmed_fraud", "card was stolen")
    assert Label.objects.get().label == "fraud"
    # And on to the next one.
    dashboard.tab_to("button submit Claim")
    dashboard.press(Keys.ENTER)
    dashboard.wait(lambda: "claimed" in dashboard.text(".queue tbody:nth-of-type(2)"))
    assert dashboard.console_errors() == []
    assert dashboard.hosts_asked() <= LOCAL


def test_each_page_in_light_and_dark(dashboard, tmp_path):
    """Screenshots of every page are left in the test's folder, for a person to look at."""
    dashboard.log_in(make_analyst("alice", is_superuser=True))
    seed_dashboard(timezone.now(), decisions=600)
    decision = Decision.objects.filter(outcome=Outcome.DECLINE).last()
    pages = {"live": "/", "alerts": "/alerts/", "decisions": "/decisions/", "decision": f"/decisions/{decision.decision_id}/",
             "models": "/models/", "roll-back": "/models/roll-back"}  # fmt: skip
    for name, path in pages.items():
        dashboard.open(path)
        backgrounds = {}
        for theme in ("light", "dark"):
            emulate_colour_scheme(dashboard.driver, theme)
            backgrounds[theme] = brightness_of_body(dashboard.driver)
            file = tmp_path / f"{name}-{theme}.png"
            assert dashboard.driver.save_screenshot(str(file)) and file.stat().st_size > 10_000
        assert backgrounds["light"] > 220 and backgrounds["dark"] < 40, name
        scroll, width = dashboard.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert scroll <= width, f"{name} scrolls sideways"
    assert dashboard.console_errors() == []
    assert dashboard.hosts_asked() <= LOCAL


def test_the_toggle_overrules_the_system_and_is_remembered(dashboard):
    dashboard.log_in(make_analyst("alice"))
    emulate_colour_scheme(dashboard.driver, "light")
    dashboard.open("/models/")
    toggle = dashboard.driver.find_element(By.ID, "theme-toggle")
    assert toggle.get_attribute("aria-pressed") == "false"
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "true" and brightness_of_body(dashboard.driver) < 40
    dashboard.open("/decisions/")
    assert brightness_of_body(dashboard.driver) < 40


def test_a_session_that_ended_leads_to_the_login(dashboard):
    dashboard.log_in(make_analyst("alice"))
    dashboard.open("/")
    dashboard.driver.delete_cookie("sessionid")
    dashboard.wait(lambda: "/login/" in dashboard.driver.current_url)


def emulate_colour_scheme(driver, theme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": theme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def brightness_of_body(driver) -> float:
    """The mean of the background's red, green and blue, 0 to 255."""
    colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    channels = [float(part) for part in colour.strip("rgba()").split(",")[:3]]
    return sum(channels) / 3
