"""The answer as it was sent, read back for people."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from scoring.models import Decision, Rule
from scoring.stored_answers import stored_answer


@dataclass(frozen=True, slots=True)
class Reason:
    """One of the ranked reasons; `weight` is in score points or log-odds, as the source gives it."""

    code: str
    source: str
    text: str
    weight: float | None = None
    feature: str | None = None
    value: Any = None
    rule_id: str | None = None


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule said: hit, no_hit, insufficient_history or error."""

    rule_id: str
    outcome: str
    name: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The stored response's parts; empty where the response has none of them."""

    reasons: tuple[Reason, ...] = ()
    rules: tuple[RuleResult, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    timing_us: dict[str, float] = field(default_factory=dict)


_REASON_FIELDS = tuple(Reason.__dataclass_fields__)


def answer_of(decision: Decision) -> tuple[Answer, dict[str, Any]]:
    """Return the answer that was sent and the transaction that was accepted."""
    response = json.loads(stored_answer(decision))
    answer = Answer(
        reasons=tuple(_reason(item) for item in response.get("reasons", ())),
        rules=_rules(response.get("rules", ())),
        versions=dict(response.get("versions") or {}),
        timing_us=dict(response.get("timing_us") or {}),
    )
    return answer, json.loads(decision.transaction)


def _rules(items: list[dict[str, Any]]) -> tuple[RuleResult, ...]:
    """Name the rules, those that hit first."""
    names = dict(Rule.objects.filter(rule_id__in=[i["rule_id"] for i in items]).values_list("rule_id", "name"))
    results = [RuleResult(i["rule_id"], i["outcome"], names.get(i["rule_id"], "")) for i in items]
    return tuple(sorted(results, key=lambda r: (r.outcome == "no_hit", r.outcome != "hit")))


def _reason(item: dict[str, Any]) -> Reason:
    # A later version of the API may say more about a reason; what this page does not know it leaves out.
    return Reason(**{name: item[name] for name in _REASON_FIELDS if name in item})
