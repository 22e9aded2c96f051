"""Log lines are JSON, carry ids and figures, and no card number, wherever it was planted."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskapp.log_format import JsonFormatter, log_uncaught, redact
from scoring.request_log import LINES_A_SECOND, RequestLog
from tests.scoring.protection.clocks import Clock
from tests.strategies import examples

CARDS = ["4111111111111111", "5555555555554444", "378282246310005", "2223003122003222", "6011000990139424", "30569309025904"]
# Ways to write a number with something between its groups of four.
WAYS = ["", " ", "-", ".", "_", ":", "/", "+", "%20", "%2D", ", ", " - ", "\t", "\n", "\u00a0", "\u2013", "\\n", "' '"]


def digits_of(text: str) -> str:
    """Every digit of a text, without what stands between."""
    return re.sub(r"\D", "", text.replace("%20", "").replace("%2D", ""))


def line_of(message: str, *arguments: object, exc_info=None, **extra: object) -> dict:
    record = logging.LogRecord("a.logger", logging.WARNING, __file__, 1, message, arguments, exc_info)
    record.__dict__.update(extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def error_with(text: str):
    try:
        try:
            raise ValueError(f"inner {text}")
        except ValueError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError:
        return sys.exc_info()


@pytest.mark.parametrize("between", WAYS)
@pytest.mark.parametrize("card", CARDS)
def test_a_card_number_is_masked_however_it_is_written(card, between):
    written = between.join(re.findall("..?.?.?", card))
    for text in (written, f"sent {written} twice", f"path=/x/{written}?y=1", f"a1 {written} 99", f"[{written}]"):
        assert card not in digits_of(redact(text)), text


@examples(200)
@given(st.text(max_size=30), st.sampled_from(CARDS), st.sampled_from(["", " ", "-"]), st.text(max_size=30))
def test_a_card_number_in_any_text_is_masked(before, card, between, after):
    written = between.join(re.findall("..?.?.?", card))
    assert written not in redact(before + written + after)


@pytest.mark.parametrize(
    "text",
    [
        "batch of 256 failed after 12.5 ms",
        "2026-11-24 20:17:28 started",
        "version 20261124-3934719d9591-1 is live",
        "0192f3a4-5b6c-7d8e-9f01-23456789abcd",
        "10.0.0.17:51234 closed, 1,234,567 bytes",
        "line 120, in _of_postgresql",
    ],
)
def test_what_is_no_card_number_stays(text):
    assert redact(text) == text


def test_the_line_carries_ids_and_figures():
    line = line_of(
        "refused: %s", "overloaded", request_id="req_0123456789abcdef01234567", door="fast", status=503, duration_ms=1.25,
        code="overloaded", unlogged=7, body="not a field",
    )  # fmt: skip
    assert line == {
        "at": line["at"], "level": "WARNING", "logger": "a.logger", "message": "refused: overloaded",
        "request_id": "req_0123456789abcdef01234567", "door": "fast", "status": 503, "duration_ms": 1.25,
        "code": "overloaded", "unlogged": 7,
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["at"])


def test_an_id_of_ours_stays_though_it_may_look_like_a_card():
    assert line_of("x", request_id="req_411111111111111100000000")["request_id"] == "req_411111111111111100000000"
    assert line_of("x", request_id="4111111111111111")["request_id"] == "[digits removed]"


@pytest.mark.parametrize("card", CARDS)
def test_no_part_of_a_record_lets_a_card_through(card):
    spaced = " ".join(re.findall("..?.?.?", card))
    line = line_of(
        "cannot read %r at %s", {"card": card}, f"/cards/{spaced}", exc_info=error_with(f"{card} and {spaced}"),
        request_id=card, decision_id=card, run_id=card, door=card, code=spaced, outcome=card, caller=card, status=int(card),
        stack_info=f"in {card}",
    )  # fmt: skip
    line.pop("status", None)
    assert card not in digits_of(json.dumps(line))
    assert "inner" in line["exception"] and "RuntimeError" in line["exception"], "the rest of it is still there"


def test_a_number_is_a_figure_only_where_it_is_small():
    assert "status" not in line_of("x", status=4111111111111111)


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(JsonFormatter().format(record)))


@pytest.fixture
def lines() -> list[dict]:
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(before)


def test_what_nothing_caught_is_masked_too(lines, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log_uncaught()

    def fail() -> None:
        raise ValueError(f"no such card {CARDS[0]}")

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join(10)
    sys.excepthook(*error_with(CARDS[1]))
    assert [line["message"] for line in lines] == ["thread worker ended", "the process ends"]
    assert all("ValueError" in line["exception"] and "[digits removed]" in line["exception"] for line in lines)


def test_refusals_are_written_down_up_to_a_rate_and_the_rest_is_counted(lines):
    clock = Clock()
    log = RequestLog(clock)
    for _ in range(1000):
        log.refusal("fast", 503, "overloaded", 0.0005, "req_0", caller="key:abc")
    log.refusal("fast", 429, "rate_limited", 0.0005, "req_1")
    assert len(lines) == LINES_A_SECOND + 1, "another kind has its own rate"
    assert lines[0] | {"at": ""} == {
        "at": "", "level": "WARNING", "logger": "scoring.requests", "message": "refused: overloaded", "request_id": "req_0",
        "door": "fast", "code": "overloaded", "caller": "key:abc", "status": 503, "duration_ms": 0.5,
    }  # fmt: skip
    clock.pass_(1.0)
    log.refusal("fast", 503, "overloaded", 0.0005, "req_2")
    log.refusal("drf", 500, "internal_error", 0.01, "req_3")
    assert lines[-2]["unlogged"] == 1000 - LINES_A_SECOND
    assert [line["level"] for line in lines[-3:]] == ["INFO", "WARNING", "ERROR"]


def test_decisions_have_lines_only_where_they_are_wanted(lines, settings):
    log = RequestLog()
    answers = [b'{"decision_id":"0192f3a4-5b6c-7d8e-9f01-23456789abc%d","outcome":"review","score":7}' % i for i in range(2)]
    log.decisions(answers, 0.0012, "req_4")
    assert lines == []
    settings.LOG_DECISIONS = True
    log.decisions(answers, 0.0012, "req_4")
    assert [line["decision_id"][-1] for line in lines] == ["0", "1"]
    assert (lines[0]["outcome"], lines[0]["duration_ms"], lines[0]["request_id"]) == ("review", 1.2, "req_4")
