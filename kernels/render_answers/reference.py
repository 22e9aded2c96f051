"""The truth: one answer after the other, as a sentence is written."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np

from kernels.render_answers.columns import AnswerColumns, counted, decision_id, transaction_id
from kernels.render_answers.form import (
    AnswerForm,
    FeatureText,
    ReasonText,
    RuleText,
    capitalised,
    decimal,
    quoted,
    ten_thousandths,
    versions_json,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPANS = (("days", 86_400), ("hours", 3_600), ("minutes", 60))


def render(form: AnswerForm, columns: AnswerColumns) -> tuple[bytes, np.ndarray]:
    """Return the answers' bytes one after the other, and where each ends, with a 0 in front."""
    counts = counted(form, columns.top_contributions)
    answers = [_answer(form, columns, row, counts[row]).encode() for row in range(len(columns.probability))]
    return b"".join(answers), np.cumsum([0, *map(len, answers)], dtype=np.int64)


def _answer(form: AnswerForm, c: AnswerColumns, row: int, counts: np.ndarray) -> str:
    probability = float(c.probability[row])
    rules = ",".join(
        f'{{"rule_id":{quoted(rule.rule_id)},"outcome":{quoted(form.rule_outcomes[code])}}}'
        for rule, code in zip(form.rules, c.rule_codes[row].tolist(), strict=True)
    )
    bits = int(c.stamps[row])
    stamps = [quoted(stamp) for bit, stamp in enumerate(form.stamps) if bits >> bit & 1]
    return (
        f'{{"decision_id":"{decision_id(c, row).decode()}","transaction_id":"{transaction_id(c, row).decode()}","status":"new",'
        f'"outcome":{quoted(form.outcomes[c.outcome[row]])},"score":{c.score[row]},'
        f'"probability":{"null" if math.isnan(probability) else decimal(round(probability * 1e6), 6)},'
        f'"reasons":[{",".join(_reasons(form, c, row, counts))}],"rules":[{rules}],'
        f'"degraded":{"true" if bits & form.degrading else "false"},"mode":{stamps[0] if stamps else quoted(form.normal)},'
        f'"stamps":[{",".join(stamps)}],"versions":{versions_json(form)},'
        f'"timing_us":{{"queue":{c.queue_us[row]},"features":{c.features_us[row]},"program":{c.program_us[row]}}},'
        f'"occurred_at":"{rfc3339(int(c.occurred_us[row]))}","received_at":"{rfc3339(int(c.received_us[row]))}"}}'
    )


def _reasons(form: AnswerForm, c: AnswerColumns, row: int, counts: np.ndarray) -> list[str]:
    """Return the strongest reasons: rules in their order, then the missing probability, then the model, by weight."""
    found = [known_reason(rule) for rule, code in zip(form.rules, c.rule_codes[row].tolist(), strict=True) if code == form.hit]
    if math.isnan(c.probability[row]):
        found.append(known_reason(form.no_probability))
    for k in np.flatnonzero(counts).tolist():
        weight = ten_thousandths(float(c.top_contributions[row, k]))
        feature = form.features[c.top_features[row, k]]
        found.append((weight, _model_reason(feature, weight, float(c.top_values[row, k]))))
    return [text for _, text in sorted(found, key=lambda reason: -reason[0])[: form.max_reasons]]


def known_reason(reason: RuleText | ReasonText) -> tuple[int, str]:
    """Return the weight in ten thousandths and the JSON of a reason that the form holds whole."""
    weight = ten_thousandths(reason.weight)
    of_rule = f',"rule_id":{quoted(reason.rule_id)}' if isinstance(reason, RuleText) else ""
    return weight, (
        f'{{"code":{quoted(reason.code)},"source":{quoted(reason.source)},"text":{quoted(reason.text)},'
        f'"weight":{decimal(weight, 4)}{of_rule}}}'
    )


def _model_reason(feature: FeatureText, weight: int, value: float) -> str:
    written = decimal(ten_thousandths(value), 4) if math.isfinite(value) else "null"
    return (
        f'{{"code":{quoted(f"model.{feature.name}")},"source":"model","text":{quoted(_say(feature, value))},'
        f'"weight":{decimal(weight, 4)},"feature":{quoted(feature.name)},"value":{written}}}'
    )


def _say(feature: FeatureText, value: float) -> str:
    """Say a feature's value in words, e.g. "Number of transactions of this card in the last hour: 7"."""
    text = capitalised(feature.text)
    if not math.isfinite(value):
        return f"{text}: not known"
    if feature.unit == "0 or 1":
        return text if value else f"Not: {feature.text}"
    return f"{text}: {_with_unit(value, feature.unit)}"


def _with_unit(value: float, unit: str) -> str:
    """A number in its unit, rounded to nearest, ties to even."""
    if unit == "minor units":
        return _tenths(round(value), 2)
    if unit == "seconds":
        return _duration(value)
    if unit == "share":
        return f"{_tenths(round(value * 1000), 1, grouped='')}%"
    if unit == "times":
        return f"{_tenths(round(value * 10), 1, grouped='')} times"
    if unit in ("count", "hours", "day number", "code"):
        return str(round(value))
    return _tenths(round(value * 10), 1, grouped="")


def _tenths(units: int, digits: int, grouped: str = ",") -> str:
    """units / 10^digits with just so many digits after the point."""
    whole, part = divmod(abs(units), 10**digits)
    return f"{'-' if units < 0 else ''}{whole:{grouped}}.{part:0{digits}}"


def _duration(seconds: float) -> str:
    for name, size in _SPANS:
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {name}"
    return f"{round(seconds)} seconds"


def rfc3339(moment_us: int) -> str:
    """The instant in UTC, with microseconds and Z."""
    return (_EPOCH + timedelta(microseconds=moment_us)).isoformat(timespec="microseconds")[:-6] + "Z"
