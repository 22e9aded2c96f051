"""How amounts, shares, times and outcomes are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from admin_ui.templatetags import risk

NARROW, FIXED = "\u202f", "\u00a0"


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (123456789, "EUR", f"1{NARROW}234{NARROW}567.89{FIXED}EUR"),
        (5, "EUR", f"0.05{FIXED}EUR"),
        (-250, "EUR", f"−2.50{FIXED}EUR"),
        (3106, "JPY", f"3{NARROW}106{FIXED}JPY"),
        (1234, "KWD", f"1.234{FIXED}KWD"),
        (0, "USD", f"0.00{FIXED}USD"),
        (None, "USD", "–"),
    ],
)
def test_money(amount, currency, text):
    assert risk.money(amount, currency) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (0.0123456, "0.0123"), (12.345, "12.3"), (123456.7, f"123{NARROW}457"), (0.00001, "1.00e-05"), (None, "–")],
)
def test_significant(number, text):
    assert risk.significant(number) == text


def test_percent_and_signed():
    assert risk.percent(0.12345, 2) == f"12.35{NARROW}%"
    assert risk.signed(-0.5) == "−0.50" and risk.signed(2) == "+2.00"
    assert risk.change(-0.0404) == "−0.040"


def test_times_are_utc_wherever_they_come_from():
    moment = datetime(2026, 3, 2, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert "2026-03-01 23:30:00" in risk.utc(moment)
    assert risk.utc(datetime(2026, 3, 2, tzinfo=UTC), "minute").endswith(">2026-03-02 00:00</time>")
    assert risk.utc(None) == "–"


@pytest.mark.parametrize(
    ("outcome", "kind", "word"), [(0, "approve", "approve"), ("step_up", "step-up", "step up"), (4, "decline", "decline")]
)
def test_outcome_has_a_word_and_a_class(outcome, kind, word):
    assert risk.outcome_chip(outcome) == f'<span class="chip chip-{kind}">{word}</span>'


def test_an_unknown_outcome_is_shown_and_escaped():
    assert risk.outcome_chip('<b>"') == '<span class="chip chip-other">&lt;b&gt;&quot;</span>'


def test_bars_stay_inside_their_track():
    assert 'width="100.0"' in risk.bar(1.7) and 'width="0.0"' in risk.bar(-1) and 'width="0.0"' in risk.bar(None)


def test_durations():
    assert risk.microseconds(212) == f"212{NARROW}µs" and risk.microseconds(4210) == f"4.21{NARROW}ms"
    assert risk.seconds(43.21) == f"43.2{NARROW}s" and risk.seconds(600) == f"10.0{NARROW}min"


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_is_not_known_is_a_dash(nothing):
    """A template passes "" for an attribute of None."""
    for written in (
        risk.grouped,
        risk.percent,
        risk.figure,
        risk.significant,
        risk.utc,
        risk.signed,
        risk.change,
        risk.microseconds,
        risk.seconds,
    ):
        assert written(nothing) == "–"
    assert risk.money(nothing, "") == risk.mean_money(nothing, "") == "–"
