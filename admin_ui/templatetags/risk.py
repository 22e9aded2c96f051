"""How amounts, shares, times and outcomes are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

UNKNOWN = "–"
# What a filter receives for a value that is None, and for an attribute of one.
_NOTHING = (None, "")
# ISO 4217 minor units, where they are not two digits.
_MINOR_DIGITS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}
_OUTCOMES = ("approve", "step_up", "review", "hold", "decline")


@register.filter
def money(amount_minor: int | None, currency: str) -> str:
    """1234567, "EUR" -> "12 345.67 EUR" with narrow no-break spaces between thousands."""
    if amount_minor in _NOTHING:
        return UNKNOWN
    digits = _MINOR_DIGITS.get(currency, 2)
    sign, whole = ("−", -amount_minor) if amount_minor < 0 else ("", amount_minor)
    major, minor = divmod(whole, 10**digits)
    fraction = f".{minor:0{digits}d}" if digits else ""
    return f"{sign}{grouped(major)}{fraction}\u00a0{currency}"


@register.filter
def grouped(number: int | None) -> str:
    """1234567 -> "1 234 567"."""
    return UNKNOWN if number in _NOTHING else f"{number:,}".replace(",", "\u202f")


@register.filter
def percent(share: float | None, digits: int = 1) -> str:
    """0.1234 -> "12.3 %"."""
    return UNKNOWN if share in _NOTHING else f"{100 * share:.{digits}f}\u202f%"


@register.filter
def figure(number: float | None, digits: int = 3) -> str:
    """A fixed number of decimals."""
    return UNKNOWN if number in _NOTHING else f"{number:.{digits}f}"


@register.filter
def significant(number: float | None) -> str:
    """Three significant digits, without an exponent in the usual range."""
    if number in _NOTHING:
        return UNKNOWN
    if number == 0:
        return "0"
    if abs(number) >= 1000:
        return grouped(round(number))
    if abs(number) < 0.001:
        return f"{number:.2e}"
    return f"{number:.3g}"


@register.filter
def utc(moment: datetime | None, form: str = "second") -> SafeString | str:
    """A <time> in UTC: form "second", "minute", "day" or "clock" (time of day with milliseconds)."""
    if moment in _NOTHING:
        return UNKNOWN
    moment = moment.astimezone(UTC)
    patterns = {"second": "%Y-%m-%d %H:%M:%S", "minute": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d"}
    text = f"{moment:%H:%M:%S}" if form == "clock" else moment.strftime(patterns[form])
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), text)


@register.simple_tag
def outcome_chip(outcome: int | str) -> SafeString:
    """An outcome by name or number: word, colour and a shape of its own."""
    name = _OUTCOMES[outcome] if isinstance(outcome, int) else outcome
    kind = name if name in _OUTCOMES else "other"
    return format_html('<span class="chip chip-{}">{}</span>', kind.replace("_", "-"), name.replace("_", " "))


@register.simple_tag
def state_chip(state: str) -> SafeString:
    """A state of an alert, a release or a run."""
    return format_html('<span class="state state-{}">{}</span>', state, state.replace("_", " "))


@register.simple_tag
def bar(share: float | None, kind: str = "plain") -> SafeString:
    """A small horizontal bar of 0 to 1; the number stands beside it, so that readers skip the drawing."""
    width = round(100 * min(1.0, max(0.0, share or 0.0)), 1)
    return format_html(
        '<svg class="bar bar-{}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="bar-track" width="100" height="6"/><rect class="bar-fill" width="{}" height="6"/></svg>',
        kind,
        width,
    )


@register.simple_tag
def stacked_bar(parts: Any) -> SafeString:
    """All outcome shares in one bar; `parts` have `name` and `share`."""
    rects, left = [], 0.0
    for part in parts:
        width = 100 * part.share
        rects.append((part.name.replace("_", "-"), round(left, 2), round(width, 2)))
        left += width
    inner = format_html_join(
        "",
        '<rect class="part part-{}" x="{}" width="{}" height="8"/>',
        (rect for rect in rects if rect[2] > 0),
    )
    return format_html(
        '<svg class="stacked" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{}</svg>',
        inner,
    )


@register.filter
def words(text: str) -> str:
    """ "step_up" -> "step up"."""
    return str(text).replace("_", " ")


@register.simple_tag
def weight_bar(weight: float, heaviest: float | None, source: str) -> SafeString:
    """A bar of a reason's weight against the heaviest of its decision; what speaks for the payment has its own kind."""
    kind = "less" if weight < 0 else "rule" if source != "model" else "plain"
    return bar(abs(weight) / heaviest if heaviest else 0.0, kind)


@register.filter
def signed(number: float | None) -> str:
    """2.5 -> "+2.50"."""
    return UNKNOWN if number in _NOTHING else f"{number:+.2f}".replace("-", "−")


@register.filter
def microseconds(us: float | None) -> str:
    """Microseconds below a thousand, else milliseconds."""
    if us in _NOTHING:
        return UNKNOWN
    return f"{us:.0f}\u202fµs" if us < 1000 else f"{us / 1000:.3g}\u202fms"


@register.filter
def seconds(number: float | None) -> str:
    """Seconds below two minutes, else minutes."""
    if number in _NOTHING:
        return UNKNOWN
    return f"{number:.1f}\u202fs" if number < 120 else f"{number / 60:.1f}\u202fmin"


@register.filter
def sent(value: Any) -> str:
    """A value as a client sent it: yes and no for booleans, short numbers, text as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return significant(value)
    return UNKNOWN if value in _NOTHING else str(value)


@register.simple_tag
def score_bar(score: int) -> SafeString:
    """A score of 0 to 1000 as a bar."""
    return bar(score / 1000)


@register.filter
def change(number: float | None) -> str:
    """0.0123 -> "+0.012"."""
    return UNKNOWN if number in _NOTHING else f"{number:+.3f}".replace("-", "−")


@register.filter
def mean_money(amount_minor: float | None, currency: str) -> str:
    """A mean amount, with two more digits than the currency has."""
    if amount_minor in _NOTHING:
        return UNKNOWN
    digits = _MINOR_DIGITS.get(currency, 2)
    return f"{amount_minor / 10**digits:.{digits + 2}f}\u00a0{currency}".replace("-", "−")


@register.filter
def yesno_number(value: float) -> str:
    """1 -> "yes", 0 -> "no"; anything else as it is."""
    return {1.0: "yes", 0.0: "no"}.get(value) or significant(value)
