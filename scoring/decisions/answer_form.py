"""The part of every answer that the program decides: rules, texts, versions; stored once, used for all its answers."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec
from django.db import transaction

from scoring.decisions.stamps import NORMAL, NOT_DEGRADED, WORDS
from scoring.engine import AnswerForm, FeatureSchema, Outcome, RiskProgram, Rule, RuleOutcome
from scoring.models import AnswerForm as StoredForm
from scoring.rules.live import ruleset_version

MAX_REASONS = 4
# Contributions below this many log-odds change the probability by less than a hundredth part of itself.
LEAST_CONTRIBUTION = 0.05
_NO_PROBABILITY = {
    "code": "policy.no_probability",
    "source": "policy",
    "text": "The model gave no probability: the rules and the limits for such payments decided",
    "weight": 0.01,
}

NET_REASON = {
    "name": "pattern_network",
    "unit": "0 or 1",
    "text": "the pattern of this payment and of those before it, as the neural network reads it",
}
"""What stands behind the features where a net contributed: it has no value of its own, and is told with 1."""


def row_width(form: AnswerForm) -> int:
    """Return how many values a feature row has that an answer of this form was made from."""
    return len(form.features) - (bool(form.features) and form.features[-1].name == NET_REASON["name"])


def form_json(program: RiskProgram) -> dict[str, Any]:
    """Return the form of a program's answers as plain JSON."""
    policy = msgspec.json.encode(program.policy.to_json(), order="deterministic")
    versions = {
        "program": program.version,
        "ruleset": ruleset_version(program.rules),
        "model": program.version if program.forest is not None else None,
        "features": program.schema.version,
        "policy": hashlib.sha256(policy).hexdigest()[:12],
    }
    return {
        "version": 1,
        "outcomes": [outcome.label for outcome in Outcome],
        "rules": [_rule(rule) for rule in program.rules],
        "rule_outcomes": [outcome.label for outcome in RuleOutcome],
        "hit": int(RuleOutcome.HIT),
        "no_hit": int(RuleOutcome.NO_HIT),
        "features": _features(program.schema) + ([NET_REASON] if program.net is not None else []),
        "versions": [list(pair) for pair in versions.items()],
        "stamps": list(WORDS),
        "normal": NORMAL,
        "not_degraded": list(NOT_DEGRADED),
        "no_probability": _NO_PROBABILITY,
        "least_contribution": LEAST_CONTRIBUTION,
        "max_reasons": MAX_REASONS,
    }


def _features(schema: FeatureSchema) -> list[dict[str, str]]:
    return [{"name": column.name, "unit": column.unit, "text": column.text} for column in schema.columns]


def _rule(rule: Rule) -> dict[str, Any]:
    """Return the rule with the reason that a hit of it is; its weight is -ln(1 - weight), on the model's scale."""
    source = "list" if _asks_lists_alone(rule.when) else "rule"
    return {
        "rule_id": rule.rule_id,
        "code": f"{source}.{rule.rule_id}",
        "source": source,
        "text": rule.reason,
        "weight": round(-math.log1p(-rule.weight), 4),
    }


def _asks_lists_alone(node: dict[str, Any]) -> bool:
    return "in_list" in node or ("op" in node and all(_asks_lists_alone(arg) for arg in node["args"]))


def encoded(form: dict[str, Any]) -> tuple[int, str]:
    """Return a form's number and its text."""
    body = msgspec.json.encode(form, order="deterministic").decode()
    return int.from_bytes(hashlib.sha256(body.encode()).digest()[:8]) >> 1, body


def store_form(number: int, body: str) -> None:
    """Keep the form in the database, where it is not kept already."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    with transaction.atomic():
        StoredForm.objects.get_or_create(id=number, defaults={"digest": digest, "body": body})


def read_form(number: int) -> AnswerForm:
    """Return a form that was kept."""
    return AnswerForm.from_json(msgspec.json.decode(StoredForm.objects.values_list("body", flat=True).get(pk=number)))
